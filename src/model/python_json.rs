//! JSON as Python's `json` writes it: with `Infinity`, `-Infinity` and `NaN`, which are no JSON.
//! They become strings, for the reader of the field to understand or to refuse.

use serde::de::DeserializeOwned;

/// Reads a file.
///
/// # Errors
/// No JSON, or not what it should say.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    // Nearly no file has such numbers, and vocabularies are long.
    match serde_json::from_slice(bytes) {
        Err(error) if error.is_syntax() => {
            serde_json::from_str(&quote_non_finite(&String::from_utf8_lossy(bytes)))
        }
        other => other,
    }
}

/// Puts quotes around numbers that JSON has no word for; strings stay as they are.
fn quote_non_finite(text: &str) -> String {
    const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    let mut quoted = String::with_capacity(text.len());
    let (mut rest, mut within_string) = (text, false);
    while let Some(first) = rest.chars().next() {
        let word = WORDS.into_iter().find(|word| !within_string && rest.starts_with(word));
        let length = match word {
            Some(word) => {
                quoted.extend(["\"", word, "\""]);
                word.len()
            }
            None => {
                let escape = within_string && first == '\\';
                let length: usize =
                    rest.chars().take(1 + usize::from(escape)).map(char::len_utf8).sum();
                within_string ^= first == '"';
                quoted.push_str(&rest[..length]);
                length
            }
        };
        rest = &rest[length..];
    }
    quoted
}
