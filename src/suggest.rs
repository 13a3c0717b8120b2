//! "Did you mean": the known name that is most like one that is not known.

/// Below this similarity (Jaro and Winkler's, 0 to 1) a name is not worth suggesting.
const SIMILARITY: f64 = 0.75;

/// The candidate most like `name`, if one is like it at all.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_finds_its_word_and_anything_else_finds_none() {
        let words = ["prompt", "seed", "steps"];
        assert_eq!(nearest("promt", words).as_deref(), Some("prompt"));
        assert_eq!(nearest("step", words).as_deref(), Some("steps"));
        assert_eq!(nearest("quux", words), None);
        assert_eq!(nearest("seed", []), None);
    }
}
