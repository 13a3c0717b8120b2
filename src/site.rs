//! Sites: named places in a model where a tensor can be seen or changed.
//!
//! A name reads like the architecture, `down.0.attn.1.block.0.cross.probs`, and is the same
//! for every checkpoint family. Users select sites with globs ([`Glob`]).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// The two halves of classifier-free guidance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Branch {
    /// The empty (or negative) prompt.
    Uncond,
    /// The prompt.
    Cond,
}

impl Branch {
    /// `uncond` or `cond`.
    pub fn label(self) -> &'static str {
        match self {
            Branch::Uncond => "uncond",
            Branch::Cond => "cond",
        }
    }
}

/// What one axis of a tensor at a site counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// Images of the run (one branch of guidance at a time).
    Image,
    /// Feature channels, a fixed number.
    Channel(i64),
    /// Attention heads, a fixed number.
    Head(i64),
    /// Rows of the latent grid divided by this number.
    Row(i64),
    /// Columns of the latent grid divided by this number.
    Column(i64),
    /// Rows of the latent grid times this number: maps between latents and pixels.
    FineRow(i64),
    /// Columns of the latent grid times this number.
    FineColumn(i64),
    /// Positions of the latent grid, row by row, where each side was divided by this number.
    Position(i64),
    /// Tokens of the prompt, padding included.
    Token,
}

impl Axis {
    /// The word used for the axis in listings.
    pub fn label(self) -> &'static str {
        match self {
            Axis::Image => "image",
            Axis::Channel(_) => "channel",
            Axis::Head(_) => "head",
            Axis::Row(_) | Axis::FineRow(_) => "row",
            Axis::Column(_) | Axis::FineColumn(_) => "column",
            Axis::Position(_) => "position",
            Axis::Token => "token",
        }
    }
}

/// The sizes that turn axes into numbers.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Images in the run.
    pub images: i64,
    /// Height of the latent grid.
    pub latent_height: i64,
    /// Width of the latent grid.
    pub latent_width: i64,
    /// Tokens of the prompt, padding included.
    pub tokens: i64,
}

/// A named place in the model.
#[derive(Clone, Debug, Serialize)]
pub struct Site {
    /// `down.0.attn.1.block.0.cross.probs`.
    pub name: String,
    /// The module's path in a diffusers checkpoint,
    /// `down_blocks.0.attentions.1.transformer_blocks.0.attn2`; empty where there is none.
    pub path: String,
    /// The axes of the tensor, outermost first.
    pub axes: Vec<Axis>,
}

impl Site {
    /// The tensor's shape for a run of the given extent.
    pub fn shape(&self, extent: &Extent) -> Vec<i64> {
        let divided = |size: i64, by: i64| (size + by - 1) / by;
        self.axes
            .iter()
            .map(|axis| match *axis {
                Axis::Image => extent.images,
                Axis::Channel(n) | Axis::Head(n) => n,
                Axis::Row(by) => divided(extent.latent_height, by),
                Axis::Column(by) => divided(extent.latent_width, by),
                Axis::FineRow(times) => extent.latent_height * times,
                Axis::FineColumn(times) => extent.latent_width * times,
                Axis::Position(by) => {
                    divided(extent.latent_height, by) * divided(extent.latent_width, by)
                }
                Axis::Token => extent.tokens,
            })
            .collect()
    }

    /// Which axes count places of the image: rows, columns, or positions of queries and keys.
    pub fn place_axes(&self) -> Vec<usize> {
        use Axis::{Column, FineColumn, FineRow, Position, Row};
        let is_place = |axis: &Axis| {
            matches!(axis, Row(_) | Column(_) | FineRow(_) | FineColumn(_) | Position(_))
        };
        (0..self.axes.len()).filter(|&i| is_place(&self.axes[i])).collect()
    }

    /// How often the latent grid's side was halved at this site, as a divisor; 1 where the
    /// tensor has no spatial axis.
    pub fn divisor(&self) -> i64 {
        self.axes
            .iter()
            .find_map(|axis| match axis {
                Axis::Row(by) | Axis::Column(by) | Axis::Position(by) => Some(*by),
                _ => None,
            })
            .unwrap_or(1)
    }

    /// True for sites within the denoising loop; the text encoder runs once before it, the
    /// autoencoder once after it.
    pub fn is_per_step(&self) -> bool {
        !["text.", "text2.", "vae."].iter().any(|part| self.name.starts_with(part))
    }

    /// True where the two halves of guidance have a tensor each; false at the sampler's own
    /// sites and in the autoencoder, which both share.
    pub fn has_branches(&self) -> bool {
        !self.name.starts_with("step.") && !self.name.starts_with("vae.")
    }

    /// True for the probabilities of a cross-attention layer of the U-Net.
    pub fn is_cross_probs(&self) -> bool {
        self.name.ends_with(".cross.probs")
    }
}

/// A site's number in its [`Sites`] list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteId(pub(crate) u32);

impl SiteId {
    /// Position in the list.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// All sites of a model, in the order of its forward pass.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    list: Vec<Site>,
    by_name: HashMap<String, SiteId>,
}

impl Sites {
    /// Adds a site; a name that is there already keeps its number.
    pub fn add(&mut self, site: Site) -> SiteId {
        if let Some(id) = self.by_name.get(&site.name) {
            return *id;
        }
        let id = SiteId(self.list.len() as u32);
        self.by_name.insert(site.name.clone(), id);
        self.list.push(site);
        id
    }

    /// Number of sites.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The site with this number.
    pub fn get(&self, id: SiteId) -> &Site {
        &self.list[id.index()]
    }

    /// The site's number, if there is one of that name.
    pub fn find(&self, name: &str) -> Option<SiteId> {
        self.by_name.get(name).copied()
    }

    /// Sites in forward order.
    pub fn iter(&self) -> impl Iterator<Item = (SiteId, &Site)> {
        self.list.iter().enumerate().map(|(i, site)| (SiteId(i as u32), site))
    }

    /// The sites that any of the globs matches, in forward order.
    ///
    /// # Errors
    /// A glob that matches nothing, with the names nearest to it.
    pub fn select(&self, globs: &[Glob]) -> Result<Vec<SiteId>, SiteError> {
        for glob in globs {
            if !self.list.iter().any(|site| glob.matches(&site.name)) {
                return Err(SiteError::NoMatch {
                    glob: glob.text.clone(),
                    nearest: self.nearest(&glob.text),
                });
            }
        }
        let matched = |site: &Site| globs.iter().any(|glob| glob.matches(&site.name));
        Ok(self.iter().filter(|(_, site)| matched(site)).map(|(id, _)| id).collect())
    }

    fn nearest(&self, text: &str) -> Vec<String> {
        const SUGGESTIONS: usize = 3;
        let mut ranked: Vec<(f64, &str)> = self
            .list
            .iter()
            .map(|site| (strsim::jaro_winkler(text, &site.name), site.name.as_str()))
            .collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        ranked.iter().take(SUGGESTIONS).map(|(_, name)| (*name).to_owned()).collect()
    }
}

/// What can go wrong in selecting sites.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SiteError {
    /// No site has such a name.
    #[error(
        "no site matches `{glob}`; nearest: {}; `probe sites` lists all of them",
        nearest.join(", ")
    )]
    NoMatch {
        /// The glob as given.
        glob: String,
        /// Names that look most like it.
        nearest: Vec<String>,
    },
}

/// A pattern over site names; `*` stands for any characters, dots included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    text: String,
}

impl Glob {
    /// Makes a glob. Every text is one; runs of `*` count as a single `*`.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// True if the whole name matches.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.text.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        if !self.text.contains('*') {
            return rest.is_empty();
        }
        let mut parts: Vec<&str> = parts.collect();
        let last = parts.pop().unwrap_or_default();
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_crosses_dots() {
        let glob = Glob::new("up.*.cross.probs");
        assert!(glob.matches("up.0.attn.1.block.0.cross.probs"));
        assert!(!glob.matches("down.0.attn.1.block.0.cross.probs"));
        assert!(!glob.matches("up.0.attn.1.block.0.cross.probs.extra"));
        assert!(Glob::new("*").matches("step.eps"));
        assert!(Glob::new("step.eps").matches("step.eps"));
        assert!(!Glob::new("step.eps").matches("step.eps.uncond"));
        assert!(Glob::new("a**b").matches("axb"));
        assert!(!Glob::new("ab*ba").matches("aba"), "parts may not overlap");
    }

    #[test]
    fn a_glob_without_match_names_the_nearest() {
        let mut sites = Sites::default();
        for name in ["up.0.res.0.out", "up.0.res.1.out", "mid.out"] {
            sites.add(Site { name: name.into(), path: String::new(), axes: vec![Axis::Image] });
        }
        let error = sites.select(&[Glob::new("up.0.res.0.ot")]).unwrap_err();
        let SiteError::NoMatch { nearest, .. } = error;
        assert_eq!(nearest[0], "up.0.res.0.out");
        assert_eq!(sites.select(&[Glob::new("up.*")]).map(|ids| ids.len()), Ok(2));
    }
}
