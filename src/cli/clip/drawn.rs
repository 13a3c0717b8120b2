//! Images drawn from embeddings between two prompts, and from composed ones.

use std::collections::BTreeMap;

use anyhow::Result;
use image::RgbImage;
use tch::{Device, Kind, Tensor};

use super::tower::Tower;
use crate::cli::kept::{Kept, KeptImage};
use crate::cli::output::bar;
use crate::cli::sites::extent;
use crate::judge;
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::{Request, generate};
use crate::probe::clip::RANDOM_DIRECTION;
use crate::probe::clip::path::{COMPOSED, INTERPOLATED, Route};
use crate::site::{Branch, Glob};
use crate::table::ClipPathRow;
use crate::tap::edit::{Edit, Edits, Operation, Reference, RunShape, Scope};
use crate::world;

/// Where the denoiser's context passes.
const CONTEXT: &str = "text.out";

/// What images are drawn from.
struct Made {
    made: &'static str,
    way: f64,
    control: Option<&'static str>,
    /// [1, tokens, channels].
    context: Tensor,
}

/// How they are drawn.
pub(super) struct Drawing<'a> {
    pub model: &'a DiffusionModel,
    /// Prompts and seeds are replaced.
    pub request: Request,
    pub tower: Tower<'a>,
    /// Places on the way, from 0 to 1.
    pub ways: Vec<f64>,
    /// Seeds of each place.
    pub seeds: Vec<u64>,
}

/// Rows with their images.
pub(super) type Drawn = Vec<(ClipPathRow, KeptImage)>;

impl Drawing<'_> {
    /// Draws along all routes.
    pub fn all(&self, routes: &[Route], (run, kept): (&str, &Kept)) -> Result<Drawn> {
        let bar = bar(routes.len() as u64, "pairs of prompts");
        let mut drawn = Vec::new();
        for (number, route) in routes.iter().enumerate() {
            let draw = || {
                let made = self.contexts(route, number as i64)?;
                self.route(route, &made, (run, drawn.len()))
            };
            drawn.extend(kept.piece(&format!("route-{number:05}"), draw)?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(drawn)
    }

    /// All contexts of a route.
    fn contexts(&self, route: &Route, number: i64) -> Result<Vec<Made>> {
        let [a, b] = route.elsewhere;
        let texts = [route.from, route.to, a, b].map(|single| single.caption());
        let contexts = self.tower.context(&texts)?;
        let of = |i: i64| contexts.narrow(0, i, 1);
        let (from, step) = (of(0), of(1) - of(0));
        let interpolated =
            |way: f64, context: Tensor, control| Made { made: INTERPOLATED, way, control, context };
        let mut all: Vec<Made> =
            self.ways.iter().map(|&way| interpolated(way, &from + &step * way, None)).collect();
        let context = &from + of(3) - of(2);
        all.push(Made { made: COMPOSED, way: 1.0, control: None, context });
        tch::manual_seed(number);
        let noise = Tensor::randn(step.size(), (Kind::Float, Device::Cpu));
        let noise = noise.to_device(step.device()).to_kind(step.kind());
        let length =
            |x: &Tensor| x.square().sum_dim_intlist([-1_i64].as_slice(), true, None::<Kind>).sqrt();
        let context = &from + &noise * (length(&step) / length(&noise));
        all.push(interpolated(1.0, context, Some(RANDOM_DIRECTION)));
        Ok(all)
    }

    /// All images of a route in one batch, judged; `first` is the number of the first.
    fn route(&self, route: &Route, made: &[Made], (run, first): (&str, usize)) -> Result<Drawn> {
        let (from, to) = (route.from.caption(), route.to.caption());
        let each = self.seeds.len();
        let images = made.len() * each;
        let request = Request {
            prompts: vec![from.clone(); images],
            seeds: self.seeds.repeat(made.len()),
            ..self.request.clone()
        };
        let rows: Vec<Tensor> =
            made.iter().map(|made| made.context.repeat([each as i64, 1, 1])).collect();
        let mut edits = self.replaced(&request, Tensor::cat(&rows, 0))?;
        let drawn = generate(self.model, &request, Some(&mut edits), &mut |_, _| {})?;
        let said = [world::parse(&from)?, world::parse(&to)?];
        let row = |(number, image): (usize, RgbImage)| {
            let made = &made[number / each];
            let [shows_from, shows_to] =
                [&said[0], &said[1]].map(|said| judge::judge(&image, said).holds());
            let row = ClipPathRow {
                run: run.to_owned(),
                sample: (first + number) as u32,
                kind: route.kind.to_owned(),
                from: from.clone(),
                to: to.clone(),
                made: made.made.to_owned(),
                way: made.way,
                seed: request.seeds[number],
                control: made.control.map(str::to_owned),
                shows_from,
                shows_to,
            };
            (row, KeptImage(image))
        };
        Ok(drawn.images.into_iter().enumerate().map(row).collect())
    }

    /// The edit that puts these contexts in the place of the prompts'.
    fn replaced(&self, request: &Request, contexts: Tensor) -> Result<Edits> {
        let numbers = [request.seeds.len() as i64, contexts.size()[1]];
        let branches = match request.guidance {
            1.0 => vec![Branch::Cond],
            _ => vec![Branch::Uncond, Branch::Cond],
        };
        let run = RunShape {
            extent: extent(self.model, numbers, [request.width, request.height]),
            steps: request.evaluations(self.model)?,
            branches,
        };
        let name = format!("{}/{CONTEXT}", Branch::Cond.label());
        let reference = Reference::new("the embeddings", BTreeMap::from([(name, contexts)]));
        let scope = Scope {
            sites: vec![Glob::new(CONTEXT)],
            branch: Some(Branch::Cond),
            ..Scope::default()
        };
        let operation = Operation::Replace(reference);
        Ok(Edits(vec![Edit::new(operation, &scope, &self.model.sites, &run)?]))
    }
}
