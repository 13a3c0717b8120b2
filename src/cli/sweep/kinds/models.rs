//! The model that items run on: opened once for as long as conditions ask for the same.

use std::rc::Rc;

use anyhow::Result;

use crate::cli::model_args::ModelArgs;
use crate::model::checkpoint::DiffusionModel;
use crate::run::ModelRecord;
use crate::sweep::Folder;

/// A model with what manifests say of it.
#[derive(Clone)]
pub(super) struct Opened {
    pub model: Rc<DiffusionModel>,
    pub record: ModelRecord,
}

/// Holds the model that was opened last.
pub(in crate::cli::sweep) struct Models {
    /// The sweep's folder, where the digests of its weights are.
    folder: Option<Folder>,
    last: Option<(String, Opened)>,
}

impl Models {
    pub fn new(folder: Option<&Folder>) -> Self {
        Self { folder: folder.cloned(), last: None }
    }

    /// Opens a model that the caller may change, and so has alone.
    pub(super) fn open_alone(&mut self, args: &ModelArgs) -> Result<Opened> {
        let opened = self.open(args)?;
        self.last = None;
        Ok(opened)
    }

    /// Opens a model, unless it is open already.
    pub(super) fn open(&mut self, args: &ModelArgs) -> Result<Opened> {
        let asked = format!("{args:?}");
        if let Some((_, opened)) = self.last.as_ref().filter(|(last, _)| *last == asked) {
            return Ok(opened.clone());
        }
        // Two models at once may not fit.
        self.last = None;
        let model = args.open()?;
        let record = args.record(&model);
        if let Some(folder) = &self.folder {
            let loaded = format!("{} {:?}", args.model, args.load.options());
            folder.pin(&loaded, &record)?;
        }
        let opened = Opened { model: Rc::new(model), record };
        self.last = Some((asked, opened.clone()));
        Ok(opened)
    }
}
