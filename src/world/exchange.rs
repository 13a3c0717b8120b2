//! Captions whose two objects have changed places, colours or shapes.

use std::ops::Range;

use super::expectation::{ObjectPhrase, Role};
use super::parse;

/// What two objects of a caption exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// Their colour words: who has which colour.
    Colours,
    /// Their nouns: who has which shape.
    Shapes,
    /// Their whole phrases: who stands where.
    Roles,
}

impl Exchange {
    /// The caption after the exchange; `None` without two objects that differ in this.
    pub fn apply(self, caption: &str) -> Option<String> {
        let expectations = parse(caption).ok()?;
        let [first, second] = expectations.objects.as_slice() else { return None };
        let (a, b) = (self.words(first)?, self.words(second)?);
        let (x, y) = (caption.get(a.clone())?, caption.get(b.clone())?);
        if x.eq_ignore_ascii_case(y) || a.end > b.start {
            return None;
        }
        let between = caption.get(a.end..b.start)?;
        Some(format!("{}{y}{between}{x}{}", &caption[..a.start], &caption[b.end..]))
    }

    fn words(self, object: &ObjectPhrase) -> Option<Range<usize>> {
        let of_role = |role: Role| {
            let word = object.words.iter().find(|word| word.role == role)?;
            Some(word.range.clone())
        };
        match self {
            Exchange::Colours => of_role(Role::Colour),
            Exchange::Shapes => of_role(Role::Noun),
            Exchange::Roles => {
                let start = object.words.iter().map(|word| word.range.start).min()?;
                let end = object.words.iter().map(|word| word.range.end).max()?;
                Some(start..end)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Exchange;

    #[test]
    fn two_objects_exchange_what_is_asked() {
        const CAPTION: &str = "a red ball to the left of a large blue cube";
        let after = |exchange: Exchange| exchange.apply(CAPTION);
        let expected = "a blue ball to the left of a large red cube";
        assert_eq!(after(Exchange::Colours).as_deref(), Some(expected));
        let expected = "a red cube to the left of a large blue ball";
        assert_eq!(after(Exchange::Shapes).as_deref(), Some(expected));
        let expected = "a large blue cube to the left of a red ball";
        assert_eq!(after(Exchange::Roles).as_deref(), Some(expected));
    }

    #[test]
    fn nothing_to_exchange_is_none() {
        assert_eq!(Exchange::Colours.apply("a red ball"), None);
        assert_eq!(Exchange::Colours.apply("a red ball and a red cube"), None);
        assert_eq!(Exchange::Shapes.apply("a red ball and a blue ball"), None);
        assert_eq!(Exchange::Colours.apply("no such words"), None);
    }
}
