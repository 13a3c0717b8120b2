//! From a scene to one of the many captions that describe it.
//!
//! Most captions are short: colour and noun. What a caption does not mention varies freely in
//! the images it belongs to, so it stays an honest description.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::lexicon::{DIGITS, NUMBERS};
use super::scene::{Background, Finish, Hand, Light, Object, Relation, Scene, Size, Written};

/// Part of the captions that name nothing but colours and nouns.
const BARE: f64 = 0.35;
/// Chance of naming sizes, the background or the light in the other captions.
const NAMED: f64 = 0.40;
/// Chance of naming finishes in those, with and without a pattern in the scene.
const FINISH_NAMED: (f64, f64) = (0.80, 0.25);
/// Chance of naming the colour of an object.
const COLOUR_NAMED: f64 = 0.96;

/// What a caption mentions besides colours and nouns.
struct Mentions {
    size: bool,
    finish: bool,
    background: bool,
    light: bool,
}

impl Mentions {
    fn draw(rng: &mut ChaCha8Rng, scene: &Scene) -> Mentions {
        let patterned = scene.objects().iter().any(|o| o.finish != Finish::Plain);
        let finish = if patterned { FINISH_NAMED.0 } else { FINISH_NAMED.1 };
        let bare = rng.random_bool(BARE);
        let mut named = |chance: f64| rng.random_bool(chance) && !bare;
        Mentions {
            size: named(NAMED),
            finish: named(finish),
            background: named(NAMED),
            light: named(NAMED),
        }
    }
}

/// Picks one of some wordings by weight.
fn pick<'a>(rng: &mut ChaCha8Rng, wordings: &[(&'a str, u32)]) -> &'a str {
    wordings.choose_weighted(rng, |w| w.1).map_or("", |w| w.0)
}

/// How the noun phrases of a caption begin.
struct Style {
    opening: &'static str,
    article: &'static str,
}

impl Style {
    fn draw(rng: &mut ChaCha8Rng) -> Style {
        let opening = pick(
            rng,
            &[
                ("", 64),
                ("a photo of", 10),
                ("a picture of", 8),
                ("an image of", 6),
                ("a render of", 4),
                ("there is", 8),
            ],
        );
        let article = match opening {
            "" => pick(rng, &[("", 36), ("a", 58), ("the", 6)]),
            _ => "a",
        };
        Style { opening, article }
    }

    /// The article for a noun phrase that begins with `next`, with a blank after it.
    fn before(&self, next: &str) -> &'static str {
        match self.article {
            "" => "",
            "the" => "the ",
            _ if next.starts_with(['a', 'e', 'i', 'o', 'u']) => "an ",
            _ => "a ",
        }
    }
}

/// Describes one object or two; with a relation if one is to be stated
/// (`objects[0] relation objects[1]`).
pub(super) fn of_objects(
    rng: &mut ChaCha8Rng,
    scene: &Scene,
    relation: Option<Relation>,
) -> String {
    let objects = scene.objects();
    let style = Style::draw(rng);
    let mentions = Mentions::draw(rng, scene);
    // Two objects of one shape are told apart by their colours.
    let alike = objects
        .iter()
        .enumerate()
        .any(|(i, a)| objects.iter().skip(i + 1).any(|b| a.shape == b.shape));
    let phrases: Vec<String> = objects
        .iter()
        .map(|o| {
            let colour = alike || rng.random_bool(COLOUR_NAMED);
            let phrase = format!("{}{}", attributes(rng, o, &mentions, colour), o.shape);
            format!("{}{phrase}", style.before(&phrase))
        })
        .collect();
    let between = match relation {
        Some(relation) => relation_wording(rng, relation, style.opening.is_empty()),
        None => "and".to_owned(),
    };
    let body = phrases.join(&format!(" {between} "));
    finish_caption(rng, scene, &mentions, &[style.opening, &body])
}

/// Describes several alike objects: "three green cones".
pub(super) fn of_count(rng: &mut ChaCha8Rng, scene: &Scene) -> String {
    let mentions = Mentions::draw(rng, scene);
    let objects = scene.objects();
    let Some(object) = objects.first() else { return String::new() };
    let names = if rng.random_bool(0.25) { DIGITS } else { NUMBERS };
    let number = names.get(objects.len()).copied().unwrap_or_default();
    let one = objects.len() == 1;
    let opening = pick(
        rng,
        &[
            ("", 66),
            ("a photo of", 9),
            ("a picture of", 6),
            ("an image of", 4),
            ("exactly", 6),
            (if one { "there is" } else { "there are" }, 9),
        ],
    );
    let named = rng.random_bool(COLOUR_NAMED);
    // Several objects are small because there is no room for large ones: not worth a word.
    let mentions = Mentions { size: mentions.size && one, ..mentions };
    let noun = if one { object.shape.name() } else { object.shape.plural() };
    let body = format!("{number} {}{noun}", attributes(rng, object, &mentions, named));
    finish_caption(rng, scene, &mentions, &[opening, &body])
}

/// Describes a written word.
pub(super) fn of_word(rng: &mut ChaCha8Rng, scene: &Scene, written: &Written) -> String {
    const WITH_COLOUR: &[(&str, u32)] = &[
        ("the word W in C letters", 30),
        ("the word W in C", 20),
        ("the word W written in C", 8),
        ("the word W written in C letters", 6),
        ("the C word W", 8),
        ("C letters spelling W", 10),
        ("C text saying W", 5),
        ("C text reading W", 5),
        ("a sign that says W in C letters", 8),
    ];
    const WITHOUT: &[(&str, u32)] =
        &[("the word W", 60), ("letters spelling W", 15), ("a sign that says W", 25)];
    let mentions = Mentions { light: false, ..Mentions::draw(rng, scene) };
    let opening =
        pick(rng, &[("", 80), ("a photo of", 8), ("a picture of", 6), ("an image of", 6)]);
    let wordings = if rng.random_bool(0.85) { WITH_COLOUR } else { WITHOUT };
    let filled: Vec<&str> = pick(rng, wordings)
        .split(' ')
        .map(|word| match word {
            "W" => written.text.as_str(),
            "C" => written.colour.name(),
            other => other,
        })
        .collect();
    finish_caption(rng, scene, &mentions, &[opening, &filled.join(" ")])
}

/// Describes a hand.
pub(super) fn of_hand(rng: &mut ChaCha8Rng, scene: &Scene, hand: &Hand) -> String {
    let mentions = Mentions { light: false, ..Mentions::draw(rng, scene) };
    let style = Style::draw(rng);
    let names = if rng.random_bool(0.25) { DIGITS } else { NUMBERS };
    let number = match names.get(usize::from(hand.fingers)).copied().unwrap_or_default() {
        "zero" if rng.random_bool(0.5) => "no",
        name => name,
    };
    let noun = if hand.fingers == 1 { "finger" } else { "fingers" };
    let body = match pick(rng, &[("with", 55), ("showing", 20), ("holding up", 15), ("raised", 10)])
    {
        "raised" if rng.random_bool(0.5) => format!("hand with {number} raised {noun}"),
        "raised" => format!("hand with {number} {noun} raised"),
        verb => format!("hand {verb} {number} {noun}"),
    };
    let body = format!("{}{body}", style.before("hand"));
    finish_caption(rng, scene, &mentions, &[style.opening, &body])
}

/// The attributes to be named before a noun, each with a blank after it.
fn attributes(rng: &mut ChaCha8Rng, object: &Object, mentions: &Mentions, colour: bool) -> String {
    let mut words: Vec<&str> = Vec::new();
    if mentions.size && rng.random_bool(0.85) {
        let big = object.size == Size::Large && rng.random_bool(0.2);
        words.push(if big { "big" } else { object.size.name() });
    }
    if colour {
        words.push(object.colour.name());
    }
    let said = if object.finish == Finish::Plain { 0.5 } else { 0.9 };
    if mentions.finish && rng.random_bool(said) {
        // Mostly "striped red ball", sometimes "red striped ball".
        let before_colour = usize::from(colour && rng.random_bool(0.8));
        words.insert(words.len() - before_colour, object.finish.name());
    }
    words.iter().map(|word| format!("{word} ")).collect()
}

fn relation_wording(rng: &mut ChaCha8Rng, relation: Relation, may_be_sentence: bool) -> String {
    const SIDE: &[(&str, u32)] = &[("to the S of", 40), ("S of", 40), ("on the S of", 20)];
    let wording = match relation {
        Relation::LeftOf => pick(rng, SIDE).replace('S', "left"),
        Relation::RightOf => pick(rng, SIDE).replace('S', "right"),
        Relation::Above => pick(rng, &[("above", 70), ("over", 18), ("on top of", 12)]).to_owned(),
        Relation::Below => pick(rng, &[("below", 65), ("under", 22), ("beneath", 13)]).to_owned(),
    };
    let is = if may_be_sentence && rng.random_bool(0.15) { "is " } else { "" };
    format!("{is}{wording}")
}

/// Joins the parts and adds background and light where they are to be mentioned.
fn finish_caption(
    rng: &mut ChaCha8Rng,
    scene: &Scene,
    mentions: &Mentions,
    parts: &[&str],
) -> String {
    let mut words: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
    if mentions.background {
        words.push(background_wording(rng, scene.background));
    }
    if mentions.light {
        words.push(light_wording(rng, scene.light));
    }
    words.retain(|part| !part.is_empty());
    words.join(" ")
}

fn background_wording(rng: &mut ChaCha8Rng, background: Background) -> String {
    let grey = background == Background::Gray && rng.random_bool(0.25);
    let name = if grey { "grey" } else { background.name() };
    pick(rng, &[("on a B background", 70), ("against a B background", 20), ("on B background", 10)])
        .replace('B', name)
}

fn light_wording(rng: &mut ChaCha8Rng, light: Light) -> String {
    let side = match light {
        Light::Left => "the left",
        Light::Right => "the right",
        Light::Above => "above",
    };
    format!("{} {side}", pick(rng, &[("lit from", 70), ("with light from", 30)]))
}
