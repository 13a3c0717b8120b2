//! What the judge sees of each attribute in a predicted image, beside the last one.

use crate::judge::{Atom, Rule, Seen, SeenObject, Verdict};

/// What an image can show that is decided at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attribute {
    /// Where objects are.
    Layout,
    /// How many.
    Count,
    /// What solids they are.
    Shape,
    /// Their colours.
    Colour,
    /// Small or large.
    Size,
    /// The background's colour.
    Background,
    /// Where the light comes from.
    Light,
    /// The pattern on their surfaces.
    Finish,
    /// The written word.
    Word,
}

/// Farthest that the centre of an object may lie from where it ends, as a share of the image's
/// width, for its place to be decided: about half the radius of a small one.
const SAME_PLACE: f32 = 0.06;
/// Farthest that an object's centre may lie from where it ends to be taken for the same object:
/// about the radius of a small one.
const SAME_OBJECT: f32 = 0.13;

/// What is seen of an attribute, and whether it is what is seen at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// In words; none where nothing is seen.
    pub text: Option<String>,
    /// Whether it is the answer of the end.
    pub agrees: bool,
}

impl Attribute {
    /// All, from layout to texture.
    pub const ALL: [Attribute; 9] = [
        Self::Layout,
        Self::Count,
        Self::Size,
        Self::Shape,
        Self::Background,
        Self::Colour,
        Self::Light,
        Self::Finish,
        Self::Word,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Layout => "layout",
            Self::Count => "count",
            Self::Shape => "shape",
            Self::Colour => "colour",
            Self::Size => "size",
            Self::Background => "background",
            Self::Light => "light",
            Self::Finish => "finish",
            Self::Word => "word",
        }
    }

    /// The answer that an image gives, beside that of the last image; none for an attribute that
    /// the last image does not have.
    pub fn answer(self, seen: &Seen, end: &Seen) -> Option<Answer> {
        match self {
            Self::Layout => of_objects(seen, end, SAME_PLACE, |o| {
                format!("{:.2},{:.2}", o.centre.0, o.centre.1)
            })
            .map(|(text, agrees)| Answer { agrees: agrees.iter().all(|&(found, _)| found), text }),
            Self::Shape => of_attribute(seen, end, |o| o.shape.name()),
            Self::Colour => of_attribute(seen, end, |o| o.colour.name()),
            Self::Size => of_attribute(seen, end, |o| o.size.name()),
            Self::Finish => of_attribute(seen, end, |o| o.finish.name()),
            Self::Count => (!end.objects.is_empty()).then(|| Answer {
                text: Some(seen.objects.len().to_string()),
                agrees: seen.objects.len() == end.objects.len(),
            }),
            Self::Background => end.background.map(|end| Answer {
                text: seen.background.map(|b| b.name().to_owned()),
                agrees: seen.background == Some(end),
            }),
            Self::Light => end.light.map(|end| Answer {
                text: seen.light.map(|l| l.name().to_owned()),
                agrees: seen.light == Some(end),
            }),
            Self::Word => end.word.as_ref().map(|end| {
                let text = seen.word.as_ref().map(|word| word.text.clone());
                Answer { agrees: text.as_ref() == Some(&end.text), text }
            }),
        }
    }

    /// Whether an image has of this attribute what its prompt asks for; none where the prompt does
    /// not say.
    pub fn right(self, verdict: &Verdict) -> Option<bool> {
        let mut asked = verdict.atoms.iter().filter(|v| self.is_asked_by(v.atom)).peekable();
        asked.peek()?;
        Some(asked.all(|v| v.holds))
    }

    fn is_asked_by(self, atom: Atom) -> bool {
        match self {
            Self::Layout => matches!(atom, Atom::Relation { rule: Rule::Strict, .. }),
            Self::Count => matches!(atom, Atom::Count { .. } | Atom::Total),
            Self::Shape => matches!(atom, Atom::Shape { .. }),
            Self::Colour => matches!(atom, Atom::Colour { .. }),
            Self::Size => matches!(atom, Atom::Size { .. }),
            Self::Background => atom == Atom::Background,
            Self::Light => atom == Atom::Light,
            Self::Finish => matches!(atom, Atom::Finish { .. }),
            Self::Word => atom == Atom::Word,
        }
    }
}

/// For each object of the end, whether one is seen near its place, and whether that one has the
/// same text.
type Agreements = Vec<(bool, bool)>;

/// The texts of what is seen near the place of each object of the end, at most so far away; none
/// if the end has no objects.
fn of_objects(
    seen: &Seen,
    end: &Seen,
    farthest: f32,
    text: impl Fn(&SeenObject) -> String,
) -> Option<(Option<String>, Agreements)> {
    if end.objects.is_empty() {
        return None;
    }
    let mut texts = Vec::new();
    let mut agreements = Vec::new();
    for object in &end.objects {
        let found = nearest(seen, object).filter(|(_, distance)| *distance <= farthest);
        agreements.push((found.is_some(), found.is_some_and(|(o, _)| text(o) == text(object))));
        texts.push(found.map_or_else(|| "–".to_owned(), |(o, _)| text(o)));
    }
    let any = agreements.iter().any(|&(found, _)| found);
    Some((any.then(|| texts.join("; ")), agreements))
}

fn of_attribute(
    seen: &Seen,
    end: &Seen,
    name: impl Fn(&SeenObject) -> &'static str,
) -> Option<Answer> {
    let (text, agrees) = of_objects(seen, end, SAME_OBJECT, |o| name(o).to_owned())?;
    Some(Answer { text, agrees: agrees.iter().all(|&(_, same)| same) })
}

/// The object seen nearest to where another one is, with the distance of their centres.
fn nearest<'a>(seen: &'a Seen, to: &SeenObject) -> Option<(&'a SeenObject, f32)> {
    let distance = |o: &SeenObject| (o.centre.0 - to.centre.0).hypot(o.centre.1 - to.centre.1);
    let all = seen.objects.iter().map(|o| (o, distance(o)));
    all.min_by(|a, b| a.1.total_cmp(&b.1))
}
