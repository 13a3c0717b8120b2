//! Lists of steps or timesteps: `0,5,10-12`.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

/// Numbers and ranges (both ends included) between commas, each from 0 to `last`. `what` names
/// the numbers in messages: "step".
pub(super) fn parse(list: &str, last: usize, what: &str) -> Result<BTreeSet<usize>> {
    let mut numbers = BTreeSet::new();
    for part in list.split(',').map(str::trim) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (Ok(from), Ok(to)) = (from.trim().parse::<usize>(), to.trim().parse::<usize>()) else {
            bail!("`{part}` is no {what}: give numbers and ranges between commas, as in 0,5,10-12");
        };
        if from > to {
            bail!(
                "`{part}`: a range goes from the smaller {what} to the larger, as in {to}-{from}"
            );
        }
        if to > last {
            bail!("{what} {to} does not exist here: there are 0 to {last}");
        }
        numbers.extend(from..=to);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lists_hold_numbers_and_ranges() {
        let list = |text| parse(text, 12, "step").map(|set| set.into_iter().collect::<Vec<_>>());
        assert_eq!(list("5, 0,10-12").unwrap(), [0, 5, 10, 11, 12]);
        assert_eq!(list("3-3").unwrap(), [3]);
        for bad in
            ["", "a", "-1", "1,,2", "1-", "1.5", "3-1", "13", "10-13", "99999999999999999999"]
        {
            assert!(list(bad).is_err(), "{bad:?}");
        }
    }
}
