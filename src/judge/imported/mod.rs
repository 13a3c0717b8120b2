//! Published rules applied to detections that another program made.
//!
//! GenEval, VISOR and T2I-CompBench each decide from the boxes of an object detector whether an
//! image shows what its prompt says. The rules are simple and full of corners, and a number
//! belongs to a benchmark only if all of them are kept; so each is here as its authors' script
//! has it, corners included, and works on boxes from a file ([`read`]). No detector runs here:
//! a number is the benchmark's own only if the boxes come from the benchmark's own detector,
//! which is why these judges are named `geneval-rule/imported` and not GenEval.
//!
//! | module | rule | script |
//! |---|---|---|
//! | [`geneval`] | objects, counts, colours, positions | `evaluate_images.py`, `summary_scores.py` |
//! | [`visor`] | two objects and their relation | `visor.py` and the notebook beside it |
//! | [`compbench`] | 2-D position and numeracy by UniDet | `2D_spatial_eval.py`, `numeracy_eval.py` |

pub mod compbench;
pub mod geneval;
pub mod read;
pub mod visor;

use serde::{Deserialize, Serialize};

/// Version of these rules as they are implemented here.
pub const VERSION: u32 = 1;

/// One object that a detector found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Name of its class, such as `traffic light`.
    pub class: String,
    /// How sure the detector is, in \[0, 1\].
    pub score: f64,
    /// Box in pixels: left, top, right, bottom.
    pub bounds: [f64; 4],
    /// Its colour, where something has classified it: GenEval's colour rule needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<String>,
}

impl Detection {
    /// Centre of the box in pixels: x to the right, y down.
    pub fn centre(&self) -> (f64, f64) {
        let [left, top, right, bottom] = self.bounds;
        ((left + right) / 2.0, (top + bottom) / 2.0)
    }
}

/// What a rule says of one image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ruling {
    /// Whether all that is asked for holds; `None` when the detections do not decide it.
    pub holds: Option<bool>,
    /// The rule's score in \[0, 1\], where it gives one.
    pub score: Option<f64>,
    /// Things the rule asks about.
    pub asked: u32,
    /// Those of them that hold.
    pub held: u32,
    /// Why it does not hold, or is not decided; empty where it holds.
    pub reasons: Vec<String>,
}

/// Which published rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PublishedRule {
    /// GenEval's, by [`geneval`].
    GenEval,
    /// VISOR's, by [`visor`].
    Visor,
    /// T2I-CompBench's 2-D position and numeracy, by [`compbench`].
    CompBench,
}

impl PublishedRule {
    /// All rules.
    pub const ALL: [PublishedRule; 3] =
        [PublishedRule::GenEval, PublishedRule::Visor, PublishedRule::CompBench];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            PublishedRule::GenEval => "geneval",
            PublishedRule::Visor => "visor",
            PublishedRule::CompBench => "compbench",
        }
    }

    /// The judge's name in tables: it says that the boxes were imported.
    pub fn judge(self) -> &'static str {
        match self {
            PublishedRule::GenEval => geneval::NAME,
            PublishedRule::Visor => visor::NAME,
            PublishedRule::CompBench => compbench::NAME,
        }
    }
}
