//! Which expectations hold in what was seen.

use super::assign::assign;
use super::seen::{Seen, SeenObject};
use super::verdict::{Atom, AtomVerdict, MARGIN, Rule, Verdict};
use crate::world::{Expectations, ObjectPhrase, RelationPhrase};

/// Decides every atom of the expectations on what was seen. The rules:
///
/// - **shape**, **colour**: an image has enough objects of a shape (colour) for all phrases
///   that name it, in caption order; a phrase for which they no longer suffice fails.
/// - **binding**: `count` objects of the phrase's own have both its shape and its colour. Asked
///   only where a colour is mentioned.
/// - **size**, **finish**: all of the phrase's objects have it, and there are `count` of them.
/// - **object**: `count` objects of the phrase's own have everything it mentions.
/// - **count**: where a number was given, exactly so many objects match the phrase.
/// - **total**: the image has as many objects as all phrases together ask for.
/// - **relation**: some object that matches the subject phrase lies so to another one that
///   matches the object phrase, by each [`Rule`]. It fails when either is missing: for a score
///   that is conditional on both being there, select by their `object` atoms.
/// - **background**, **light**, **word**, **letter colour**, **fingers**: equal to what the
///   caption names; not seen at all counts as not equal.
pub fn match_seen(seen: Seen, expectations: &Expectations) -> Verdict {
    let mut groups = assign(&expectations.objects, &seen.objects);
    let mut atoms = Vec::new();
    for phrase in 0..expectations.objects.len() {
        phrase_atoms(&mut atoms, phrase, &groups[phrase], expectations, &seen.objects);
    }
    if !expectations.objects.is_empty() {
        atoms.push(total_atom(expectations, &seen.objects));
    }
    for (index, relation) in expectations.relations.iter().enumerate() {
        relation_atoms(&mut atoms, index, relation, expectations, &seen.objects, &mut groups);
    }
    image_atoms(&mut atoms, expectations, &seen);
    let extras = (0..seen.objects.len()).filter(|i| !groups.iter().flatten().any(|g| g == i));
    Verdict {
        atoms,
        extras: extras.collect(),
        assignment: groups.iter().map(|g| g.first().copied()).collect(),
        groups,
        seen,
    }
}

fn verdict(
    atom: Atom,
    holds: bool,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> AtomVerdict {
    let (expected, found) = (expected.into(), found.into());
    let reason = if holds {
        format!("{expected}: found {found}")
    } else {
        format!("expected {expected}, found {found}")
    };
    AtomVerdict { atom, holds, expected, found, reason }
}

/// "large striped red ball".
fn describe(o: &SeenObject) -> String {
    format!("{} {} {} {}", o.size, o.finish, o.colour, o.shape)
}

fn describe_all<'a>(objects: impl Iterator<Item = &'a SeenObject>) -> String {
    let all: Vec<String> = objects.map(describe).collect();
    if all.is_empty() { "nothing".into() } else { all.join(", ") }
}

fn has_everything(phrase: &ObjectPhrase, o: &SeenObject) -> bool {
    phrase.shape == o.shape
        && phrase.colour.is_none_or(|c| c == o.colour)
        && phrase.size.is_none_or(|s| s == o.size)
        && phrase.finish.is_none_or(|f| f == o.finish)
}

/// "3 balls", "1 ball".
fn numbered(count: usize, singular: &str) -> String {
    if count == 1 { format!("1 {singular}") } else { format!("{count} {singular}s") }
}

fn phrase_atoms(
    atoms: &mut Vec<AtomVerdict>,
    index: usize,
    group: &[usize],
    expectations: &Expectations,
    objects: &[SeenObject],
) {
    let phrase = &expectations.objects[index];
    let wanted = usize::from(phrase.count);
    let own = || group.iter().map(|&i| &objects[i]);
    let own_with = |test: &dyn Fn(&SeenObject) -> bool| own().filter(|o| test(o)).count() == wanted;

    let complete = own_with(&|o| has_everything(phrase, o));
    atoms.push(verdict(
        Atom::Object { phrase: index },
        complete,
        phrase.to_string(),
        describe_all(own()),
    ));

    // What the phrases up to this one ask for together.
    let asked = |test: &dyn Fn(&ObjectPhrase) -> bool| -> usize {
        let upto = expectations.objects[..=index].iter().filter(|p| test(p));
        upto.map(|p| usize::from(p.count)).sum()
    };
    let there = objects.iter().filter(|o| o.shape == phrase.shape).count();
    atoms.push(verdict(
        Atom::Shape { phrase: index },
        there >= asked(&|p| p.shape == phrase.shape),
        numbered(wanted, phrase.shape.name()),
        numbered(there, phrase.shape.name()),
    ));
    if let Some(colour) = phrase.colour {
        let there = objects.iter().filter(|o| o.colour == colour).count();
        atoms.push(verdict(
            Atom::Colour { phrase: index },
            there >= asked(&|p| p.colour == Some(colour)),
            numbered(wanted, &format!("{colour} object")),
            numbered(there, &format!("{colour} object")),
        ));
        atoms.push(verdict(
            Atom::Binding { phrase: index },
            own_with(&|o| o.colour == colour && o.shape == phrase.shape),
            numbered(wanted, &format!("{colour} {}", phrase.shape)),
            describe_all(own()),
        ));
    }
    if let Some(size) = phrase.size {
        atoms.push(verdict(
            Atom::Size { phrase: index },
            own_with(&|o| o.size == size),
            size.name(),
            describe_all(own()),
        ));
    }
    if let Some(finish) = phrase.finish {
        atoms.push(verdict(
            Atom::Finish { phrase: index },
            own_with(&|o| o.finish == finish),
            finish.name(),
            describe_all(own()),
        ));
    }
    if phrase.counted {
        let there = objects.iter().filter(|o| has_everything(phrase, o)).count();
        atoms.push(verdict(
            Atom::Count { phrase: index },
            there == wanted,
            format!("exactly {phrase}"),
            there.to_string(),
        ));
    }
}

fn total_atom(expectations: &Expectations, objects: &[SeenObject]) -> AtomVerdict {
    let wanted: usize = expectations.objects.iter().map(|p| usize::from(p.count)).sum();
    verdict(
        Atom::Total,
        objects.len() == wanted,
        format!("{} in all", numbered(wanted, "object")),
        format!("{}: {}", objects.len(), describe_all(objects.iter())),
    )
}

/// Distances of the subject's centre from the object's: along the relation's direction and
/// across it, as fractions of the image width.
fn offset(relation: &RelationPhrase, subject: &SeenObject, object: &SeenObject) -> (f32, f32) {
    let dx = subject.centre.0 - object.centre.0;
    let dy = subject.centre.1 - object.centre.1;
    let (ux, uy) = relation.relation.direction();
    (dx * ux + dy * uy, (dx * uy - dy * ux).abs())
}

fn lies_so((along, across): (f32, f32), rule: Rule) -> bool {
    match rule {
        Rule::Strict => along > MARGIN && along > across,
        Rule::Loose => along > MARGIN,
    }
}

/// Decides a relation by both rules. Where its phrases have single objects and another pair of
/// matching objects stands right, that pair becomes theirs.
fn relation_atoms(
    atoms: &mut Vec<AtomVerdict>,
    index: usize,
    relation: &RelationPhrase,
    expectations: &Expectations,
    objects: &[SeenObject],
    groups: &mut [Vec<usize>],
) {
    let (Some(subject), Some(object)) =
        (expectations.objects.get(relation.subject), expectations.objects.get(relation.object))
    else {
        return;
    };
    let expected = format!("{subject} {} {object}", relation.relation);
    let pairs = matching_pairs(subject, object, objects, groups, relation);
    for rule in [Rule::Strict, Rule::Loose] {
        let atom = Atom::Relation { relation: index, rule };
        let standing =
            pairs.iter().find(|&&(a, b)| lies_so(offset(relation, &objects[a], &objects[b]), rule));
        let found = match standing.or(pairs.first()) {
            None => "not both objects".to_owned(),
            Some(&(a, b)) => {
                let (along, across) = offset(relation, &objects[a], &objects[b]);
                format!("offset {along:+.2} along, {across:.2} across")
            }
        };
        atoms.push(verdict(atom, standing.is_some(), &expected, found));
        if let (Some(&(a, b)), Rule::Strict) = (standing, rule)
            && groups[relation.subject].len() == 1
            && groups[relation.object].len() == 1
        {
            groups[relation.subject] = vec![a];
            groups[relation.object] = vec![b];
        }
    }
}

/// All pairs of different objects that match the two phrases, the assigned pair first.
fn matching_pairs(
    subject: &ObjectPhrase,
    object: &ObjectPhrase,
    objects: &[SeenObject],
    groups: &[Vec<usize>],
    relation: &RelationPhrase,
) -> Vec<(usize, usize)> {
    let matching = |phrase: &ObjectPhrase| -> Vec<usize> {
        (0..objects.len()).filter(|&i| has_everything(phrase, &objects[i])).collect()
    };
    let of_object = matching(object);
    let mut pairs: Vec<(usize, usize)> = matching(subject)
        .into_iter()
        .flat_map(|a| of_object.iter().filter(move |&&b| a != b).map(move |&b| (a, b)))
        .collect();
    let assigned = groups[relation.subject].first().zip(groups[relation.object].first());
    pairs.sort_by_key(|&(a, b)| assigned != Some((&a, &b)));
    pairs
}

fn image_atoms(atoms: &mut Vec<AtomVerdict>, expectations: &Expectations, seen: &Seen) {
    let named = |name: Option<&'static str>| name.unwrap_or("none of the known ones").to_owned();
    if let Some(p) = &expectations.background {
        atoms.push(verdict(
            Atom::Background,
            seen.background == Some(p.background),
            format!("{} background", p.background),
            named(seen.background.map(|b| b.name())),
        ));
    }
    if let Some(p) = &expectations.light {
        atoms.push(verdict(
            Atom::Light,
            seen.light == Some(p.light),
            format!("light from {}", p.light),
            named(seen.light.map(|l| l.name())),
        ));
    }
    if let Some(p) = &expectations.word {
        let text = seen.word.as_ref().map(|w| w.text.as_str());
        atoms.push(verdict(
            Atom::Word,
            text == Some(p.text.as_str()),
            format!("the word {}", p.text),
            text.unwrap_or("no word"),
        ));
        if let Some(colour) = p.colour {
            let found = seen.word.as_ref().map(|w| w.colour);
            atoms.push(verdict(
                Atom::LetterColour,
                found == Some(colour),
                format!("{colour} letters"),
                found.map_or("no letters", |c| c.name()),
            ));
        }
    }
    if let Some(p) = &expectations.fingers {
        atoms.push(verdict(
            Atom::Fingers,
            seen.fingers == Some(p.count),
            format!("a hand with {}", numbered(usize::from(p.count), "raised finger")),
            seen.fingers.map_or("no hand".into(), |n| numbered(usize::from(n), "raised finger")),
        ));
    }
}
