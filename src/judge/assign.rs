//! The best assignment of phrases to seen objects.

use super::seen::SeenObject;
use crate::world::ObjectPhrase;

/// Worth of each attribute that agrees. The noun names the thing, so shape outweighs colour;
/// size and finish only decide between objects that are alike otherwise.
const SHAPE: f32 = 5.0;
const COLOUR: f32 = 4.0;
const SIZE: f32 = 1.0;
const FINISH: f32 = 1.0;
/// Weight of the confidence, which decides between equals.
const CONFIDENCE: f32 = 0.1;

/// How well an object answers a phrase: 0 when neither shape nor colour agree, which makes it
/// no answer at all.
pub(super) fn agreement(phrase: &ObjectPhrase, object: &SeenObject) -> f32 {
    let shape = phrase.shape == object.shape;
    let colour = phrase.colour.is_some_and(|c| c == object.colour);
    if !shape && !colour {
        return 0.0;
    }
    let worth = |agrees: bool, weight: f32| if agrees { weight } else { 0.0 };
    worth(shape, SHAPE)
        + worth(colour, COLOUR)
        + worth(phrase.size.is_some_and(|s| s == object.size), SIZE)
        + worth(phrase.finish.is_some_and(|f| f == object.finish), FINISH)
        + CONFIDENCE * object.confidence
}

/// For each phrase its objects, at most `count` of them, such that the sum of agreements over
/// all phrases is greatest. An object answers one phrase at most.
pub(super) fn assign(phrases: &[ObjectPhrase], objects: &[SeenObject]) -> Vec<Vec<usize>> {
    let slots: Vec<usize> = phrases
        .iter()
        .enumerate()
        .flat_map(|(i, p)| std::iter::repeat_n(i, usize::from(p.count)))
        .collect();
    // A square table: rows beyond the slots and columns beyond the objects are worth nothing.
    let n = slots.len().max(objects.len());
    let worth = |row: usize, column: usize| -> f32 {
        match (slots.get(row), objects.get(column)) {
            (Some(&phrase), Some(object)) => agreement(&phrases[phrase], object),
            _ => 0.0,
        }
    };
    let row_of_column = greatest_matching(n, worth);
    let mut groups = vec![Vec::new(); phrases.len()];
    for (column, &row) in row_of_column.iter().enumerate() {
        if worth(row, column) > 0.0 {
            groups[slots[row]].push(column);
        }
    }
    for (phrase, group) in phrases.iter().zip(&mut groups) {
        group.sort_by(|&a, &b| {
            agreement(phrase, &objects[b]).total_cmp(&agreement(phrase, &objects[a]))
        });
    }
    groups
}

/// The Hungarian method with potentials, O(n³): for each column of an n × n table the row that
/// takes it, so that the sum of worths is greatest.
fn greatest_matching(n: usize, worth: impl Fn(usize, usize) -> f32) -> Vec<usize> {
    // Index 0 of rows and columns is a place outside the table, as the method needs one.
    let cost = |row: usize, column: usize| -worth(row - 1, column - 1);
    let mut row_potential = vec![0.0_f32; n + 1];
    let mut column_potential = vec![0.0_f32; n + 1];
    let mut row_of = vec![0_usize; n + 1];
    let mut came_from = vec![0_usize; n + 1];
    for row in 1..=n {
        row_of[0] = row;
        let mut column = 0;
        let mut least = vec![f32::INFINITY; n + 1];
        let mut visited = vec![false; n + 1];
        while row_of[column] != 0 {
            visited[column] = true;
            let here = row_of[column];
            let (mut step, mut next) = (f32::INFINITY, 0);
            for c in (1..=n).filter(|&c| !visited[c]) {
                let reduced = cost(here, c) - row_potential[here] - column_potential[c];
                if reduced < least[c] {
                    least[c] = reduced;
                    came_from[c] = column;
                }
                if least[c] < step {
                    (step, next) = (least[c], c);
                }
            }
            for c in 0..=n {
                if visited[c] {
                    row_potential[row_of[c]] += step;
                    column_potential[c] -= step;
                } else {
                    least[c] -= step;
                }
            }
            column = next;
        }
        while column != 0 {
            row_of[column] = row_of[came_from[column]];
            column = came_from[column];
        }
    }
    row_of[1..].iter().map(|&row| row - 1).collect()
}

#[cfg(test)]
mod tests {
    use super::greatest_matching;

    /// The best sum over all permutations, by trying each.
    fn best_by_trial(table: &[Vec<f32>], used: &mut Vec<bool>, row: usize) -> f32 {
        if row == table.len() {
            return 0.0;
        }
        let mut best = f32::NEG_INFINITY;
        for column in 0..table.len() {
            if !used[column] {
                used[column] = true;
                best = best.max(table[row][column] + best_by_trial(table, used, row + 1));
                used[column] = false;
            }
        }
        best
    }

    #[test]
    fn matching_is_the_best_of_all_permutations() {
        let mut state = 12_345_u32;
        for n in 1..=6 {
            for _ in 0..40 {
                let table: Vec<Vec<f32>> = (0..n)
                    .map(|_| {
                        (0..n)
                            .map(|_| {
                                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                                (state >> 24) as f32
                            })
                            .collect()
                    })
                    .collect();
                let rows = greatest_matching(n, |r, c| table[r][c]);
                let sum: f32 = rows.iter().enumerate().map(|(c, &r)| table[r][c]).sum();
                let mut sorted = rows.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..n).collect::<Vec<_>>());
                assert_eq!(sum, best_by_trial(&table, &mut vec![false; n], 0));
            }
        }
    }
}
