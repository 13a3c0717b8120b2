//! A comparison as JUnit XML, which most services of continuous integration show.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::report::sentence;
use super::{Comparison, Group, Verdict, scores};

/// Broken images named in a failure; the run folder has all.
const NAMED: usize = 20;

/// One test case for each category: a regression is a failure, what cannot be told is skipped,
/// or a failure too when `strict`.
///
/// # Errors
/// When the writer refuses, which memory does not.
pub fn junit(comparison: &Comparison, strict: bool) -> io::Result<Vec<u8>> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let fails = |case: &&Case| {
        case.verdict == Verdict::Regressed || (strict && case.verdict == Verdict::Inconclusive)
    };
    let skips = |case: &&Case| !strict && case.verdict == Verdict::Inconclusive;
    let cases = cases(comparison);
    let tests = cases.len().to_string();
    let failures = cases.iter().filter(fails).count().to_string();
    let skipped = cases.iter().filter(skips).count().to_string();
    let counts = [
        ("name", "probe compare"),
        ("tests", tests.as_str()),
        ("failures", failures.as_str()),
        ("errors", "0"),
        ("skipped", skipped.as_str()),
    ];
    writer.create_element("testsuites").with_attributes(counts).write_inner_content(|writer| {
        writer.create_element("testsuite").with_attributes(counts).write_inner_content(
            |writer| cases.iter().try_for_each(|case| write(writer, case, strict)),
        )?;
        Ok(())
    })?;
    let mut bytes = writer.into_inner();
    bytes.push(b'\n');
    Ok(bytes)
}

/// What one test case says.
struct Case {
    class: String,
    name: String,
    verdict: Verdict,
    said: String,
    /// Broken images, one a line.
    broken: String,
}

fn cases(comparison: &Comparison) -> Vec<Case> {
    let class = |suite: &str, judge: &str| printable(&format!("{suite} / {judge}"));
    let shares = comparison.groups.iter().map(|group| Case {
        class: class(&group.row.suite, &group.row.judge),
        name: printable(&group.row.category),
        verdict: group.verdict,
        said: printable(&sentence(group)),
        broken: broken(comparison, group),
    });
    let scores = comparison.scores.iter().map(|group| Case {
        class: class(&group.row.suite, &group.row.judge),
        name: printable(&format!("{}, mean score", group.row.category)),
        verdict: group.verdict,
        said: printable(&scores::sentence(group)),
        broken: String::new(),
    });
    shares.chain(scores).collect()
}

fn write(writer: &mut Writer<Vec<u8>>, case: &Case, strict: bool) -> io::Result<()> {
    let names = [("classname", case.class.as_str()), ("name", case.name.as_str())];
    let said = &case.said;
    let message = [("type", case.verdict.name()), ("message", said.as_str())];
    let element = writer.create_element("testcase").with_attributes(names);
    element.write_inner_content(|writer| {
        let (element, text) = match case.verdict {
            Verdict::Regressed => ("failure", case.broken.clone()),
            Verdict::Inconclusive if strict => ("failure", said.clone()),
            Verdict::Inconclusive => {
                let skipped = writer.create_element("skipped");
                skipped.with_attribute(("message", said.as_str())).write_empty()?;
                return Ok(());
            }
            Verdict::Improved | Verdict::Equivalent => {
                let out = writer.create_element("system-out");
                out.write_text_content(BytesText::new(said))?;
                return Ok(());
            }
        };
        let element = writer.create_element(element).with_attributes(message);
        element.write_text_content(BytesText::new(&text))?;
        Ok(())
    })?;
    Ok(())
}

fn broken(comparison: &Comparison, group: &Group) -> String {
    let of_group = comparison.changes.iter().filter(|change| {
        let everything = group.row.category == super::OVERALL;
        change.change == "broken"
            && change.suite == group.row.suite
            && change.judge == group.row.judge
            && (everything || change.category == group.row.category)
    });
    let mut text = String::new();
    for change in of_group.take(NAMED) {
        text += &format!(
            "{} seed {}: {:?}: {} ({})\n",
            change.item,
            change.seed,
            change.prompt,
            change.reason,
            change.image_b.as_deref().unwrap_or("image not kept")
        );
    }
    printable(&text)
}

/// XML 1.0 has no place for most control characters, not even escaped.
fn printable(text: &str) -> String {
    let allowed = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    let stays = |c: char| allowed(c) && !matches!(c, '\u{fffe}' | '\u{ffff}');
    text.chars().map(|c| if stays(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}
