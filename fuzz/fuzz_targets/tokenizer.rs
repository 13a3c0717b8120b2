//! Any bytes as the files of a tokenizer, cut at the bytes 0xff.
#![no_main]

use denoscope::model::tokenizer::Tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut files = bytes.splitn(3, |byte| *byte == 0xff);
    let mut next = || files.next().unwrap_or_default();
    if let Ok(tokenizer) = Tokenizer::new(next(), next(), next()) {
        drop(tokenizer.encode("a photo of a réd ball 😀 "));
    }
});
