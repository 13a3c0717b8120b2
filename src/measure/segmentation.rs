//! Regions as COCO files have them: polygons and run lengths.

use ndarray::Array2;

use super::Undefined;

/// The places whose centres lie in a polygon, by the even–odd rule, in an image of
/// `[height, width]` pixels; `corners` are x to the right and y down, in pixels, in turn.
///
/// # Errors
/// [`Undefined::TooFew`] for fewer than three corners, [`Undefined::Length`] for an x without a y,
/// [`Undefined::NotFinite`].
pub fn polygon(corners: &[f64], [height, width]: [usize; 2]) -> Result<Array2<bool>, Undefined> {
    const FEWEST: usize = 3;
    if !corners.len().is_multiple_of(2) {
        return Err(Undefined::Length { expected: corners.len() + 1, got: corners.len() });
    }
    let corners: Vec<[f64; 2]> = corners.chunks_exact(2).map(|c| [c[0], c[1]]).collect();
    if corners.len() < FEWEST {
        return Err(Undefined::TooFew { needed: FEWEST, got: corners.len() });
    }
    if corners.iter().flatten().any(|x| !x.is_finite()) {
        return Err(Undefined::NotFinite);
    }
    let mut region = Array2::from_elem((height, width), false);
    for (row, mut places) in region.rows_mut().into_iter().enumerate() {
        let y = row as f64 + 0.5;
        let next = corners.iter().cycle().skip(1);
        let mut crossings: Vec<f64> = corners
            .iter()
            .zip(next)
            .filter(|(a, b)| (a[1] <= y) != (b[1] <= y))
            .map(|(a, b)| a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0]))
            .collect();
        crossings.sort_unstable_by(f64::total_cmp);
        for pair in crossings.chunks_exact(2) {
            for (column, inside) in places.iter_mut().enumerate() {
                let x = column as f64 + 0.5;
                *inside |= (pair[0]..pair[1]).contains(&x);
            }
        }
    }
    Ok(region)
}

/// A region of run lengths: outside, inside, outside … going down the first column, then down the
/// second.
///
/// # Errors
/// [`Undefined::Length`] if the runs do not fill the image.
pub fn runs(counts: &[usize], [height, width]: [usize; 2]) -> Result<Array2<bool>, Undefined> {
    let (expected, got) = (height * width, counts.iter().sum());
    if expected != got {
        return Err(Undefined::Length { expected, got });
    }
    let mut inside = false;
    let mut places = Vec::with_capacity(expected);
    for &count in counts {
        places.resize(places.len() + count, inside);
        inside = !inside;
    }
    let columns = Array2::from_shape_vec((width, height), places)
        .map_err(|_| Undefined::Length { expected, got })?;
    Ok(columns.reversed_axes().as_standard_layout().into_owned())
}

/// The run lengths in a compressed string of pycocotools: each number in groups of five bits, the
/// lowest first, with a bit that says whether another follows; from the third number on the
/// difference to the one before the last. None for text that is none.
pub fn run_lengths(text: &str) -> Option<Vec<usize>> {
    const FIRST: u8 = b'0';
    const BITS: u32 = 5;
    const MORE: i64 = 0x20;
    const SIGN: i64 = 0x10;
    /// No image has more pixels.
    const MOST_BITS: u32 = 50;
    let mut counts: Vec<i64> = Vec::new();
    let mut bytes = text.bytes();
    while let Some(mut byte) = bytes.next() {
        let (mut value, mut shift) = (0_i64, 0_u32);
        loop {
            let group = i64::from(byte.checked_sub(FIRST)?);
            if group >= 2 * MORE || shift > MOST_BITS {
                return None;
            }
            value |= (group & (MORE - 1)) << shift;
            shift += BITS;
            if group & MORE == 0 {
                if group & SIGN != 0 {
                    value |= -1 << shift;
                }
                break;
            }
            byte = bytes.next()?;
        }
        if counts.len() > 2 {
            value += counts[counts.len() - 2];
        }
        counts.push(value);
    }
    counts.into_iter().map(|count| usize::try_from(count).ok()).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::{polygon, run_lengths, runs};
    use crate::measure::Undefined;

    #[test]
    fn a_polygon_has_the_places_whose_centres_it_holds() {
        // A right triangle: x + y < 4.
        let triangle = polygon(&[0.0, 0.0, 4.0, 0.0, 0.0, 4.0], [4, 4]).unwrap();
        let expected = array![
            [true, true, true, false],
            [true, true, false, false],
            [true, false, false, false],
            [false, false, false, false]
        ];
        assert_eq!(triangle, expected);
        assert!(matches!(polygon(&[0.0; 4], [2, 2]), Err(Undefined::TooFew { .. })));
        assert!(matches!(polygon(&[0.0; 7], [2, 2]), Err(Undefined::Length { .. })));
        assert_eq!(polygon(&[f64::NAN; 6], [2, 2]), Err(Undefined::NotFinite));
    }

    #[test]
    fn runs_go_down_columns() {
        let region = runs(&[1, 3, 2], [2, 3]).unwrap();
        assert_eq!(region, array![[false, true, false], [true, true, false]]);
        assert!(matches!(runs(&[1, 3], [2, 3]), Err(Undefined::Length { .. })));
    }

    #[test]
    fn what_is_no_string_of_runs_is_none() {
        assert_eq!(run_lengths("132"), Some(vec![1, 3, 2]));
        for bad in ["1é", "P", "!", "1~"] {
            assert_eq!(run_lengths(bad), None, "{bad}");
        }
    }
}
