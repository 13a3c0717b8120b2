//! Makes sure of libtorch, the C++ half of PyTorch that `tch` links.
//!
//! In this order: the folder in `LIBTORCH`; a Python torch, if asked for; else the folder
//! `libtorch/` of this checkout, assembled from wheels. The folder is what later plain cargo
//! commands use (`.cargo/config.toml`), so a Python torch is remembered as a link there.

mod assemble;
mod elf;
mod folder;
mod install;
mod platform;
mod version;
mod wheels;

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::python::Python;
use crate::workspace::Workspace;
use folder::State;
use install::Staging;
use platform::Platform;

/// The PyTorch version that tch 0.24 is made for.
pub const VERSION: &str = "2.11.0";

/// Chooses a libtorch from outside the command line, for every task.
const VARIABLE: &str = "DENOSCOPE_LIBTORCH";

/// Device files of the NVIDIA driver: one is there if a GPU is.
const NVIDIA_DEVICE: &str = "/dev/nvidiactl";

/// A libtorch that the user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The torch of the Python that runs here, with its GPU support.
    Python,
    /// Assembled from wheels, for the CPU.
    Wheels,
}

impl Wanted {
    /// What `DENOSCOPE_LIBTORCH` says.
    pub fn from_environment() -> Result<Option<Self>> {
        match env::var(VARIABLE) {
            Ok(value) if !value.is_empty() => Self::parse(VARIABLE, &value).map(Some),
            _ => Ok(None),
        }
    }

    /// Takes `--libtorch VALUE` out of the arguments; the environment stands in for it.
    pub fn from_arguments(arguments: &[OsString]) -> Result<(Option<Self>, Vec<OsString>)> {
        let mut wanted = None;
        let mut rest = Vec::new();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let text = argument.to_string_lossy();
            if text == "--libtorch" {
                let value = arguments.next().context("--libtorch needs `python` or `wheels`")?;
                wanted = Some(Self::parse("--libtorch", &value.to_string_lossy())?);
            } else if let Some(value) = text.strip_prefix("--libtorch=") {
                wanted = Some(Self::parse("--libtorch", value)?);
            } else {
                rest.push(argument.clone());
            }
        }
        match wanted {
            Some(wanted) => Ok((Some(wanted), rest)),
            None => Ok((Self::from_environment()?, rest)),
        }
    }

    fn parse(origin: &str, value: &str) -> Result<Self> {
        match value {
            "python" => Ok(Self::Python),
            "wheels" => Ok(Self::Wheels),
            other => bail!("{origin} is `{other}`; it can be `python` or `wheels`"),
        }
    }
}

/// A libtorch that has been checked.
pub struct Ready {
    folder: PathBuf,
}

impl Ready {
    /// The folder and, where it is a link, what it leads to.
    pub fn describe(&self) -> String {
        match std::fs::read_link(&self.folder) {
            Ok(target) => format!("{} -> {}", self.folder.display(), target.display()),
            Err(_) => self.folder.display().to_string(),
        }
    }

    /// The folder of its shared libraries.
    pub fn libraries(&self) -> PathBuf {
        self.folder.join("lib")
    }

    /// How to use the GPU, where one is left idle.
    pub fn accelerator_hint(&self) -> Option<String> {
        let is_idle = Path::new(NVIDIA_DEVICE).exists()
            && !self.libraries().join("libtorch_cuda.so").exists();
        is_idle.then(|| {
            format!(
                "This libtorch computes on the CPU, and an NVIDIA GPU is here. To use it: \
                 `python3 -m pip install torch=={VERSION}`, then \
                 `cargo xtask setup --libtorch python`."
            )
        })
    }
}

/// Makes sure of a libtorch of the right version, at the price of a download if need be.
pub fn ensure(workspace: &Workspace, wanted: Option<Wanted>) -> Result<Ready> {
    let folder = workspace.libtorch();
    if let Some(given) = workspace.libtorch_of_user() {
        check_given(&given)?;
        if wanted.is_some() {
            eprintln!("note: LIBTORCH is set and goes before --libtorch and {VARIABLE}");
        }
        return Ok(Ready { folder: given });
    }
    if plan(wanted, &State::of(&folder))? == Plan::Use {
        return Ok(Ready { folder });
    }
    let _only_one = lock(workspace)?;
    // Asked again, since another process may have done the work while this one waited.
    let plan = plan(wanted, &State::of(&folder))?;
    if plan != Plan::Use {
        install::sweep(workspace.root());
    }
    match plan {
        Plan::Use => {}
        Plan::LinkPython => link_python(workspace)?,
        Plan::Assemble => assemble_wheels(workspace)?,
    }
    Ok(Ready { folder })
}

/// What there is to do about the folder `libtorch/`.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Use,
    LinkPython,
    Assemble,
}

fn plan(wanted: Option<Wanted>, state: &State) -> Result<Plan> {
    Ok(match (wanted, state) {
        (None, State::Usable { .. })
        | (Some(Wanted::Wheels), State::Usable { is_link: false, .. }) => Plan::Use,
        (_, State::Usable { is_ours: false, .. }) => bail!(
            "the folder libtorch/ was put there by hand and is left alone. Move it away, or \
             leave --libtorch and {VARIABLE} out to use it."
        ),
        (None, State::Unusable { is_link: true, why, .. }) => bail!(
            "libtorch/ is a link to a Python torch that can no longer be used: {why}. Install \
             torch {VERSION} there and run `cargo xtask setup --libtorch python`, or run \
             `cargo xtask setup --libtorch wheels` for the CPU."
        ),
        (_, State::Unusable { is_ours: false, why, .. }) => bail!(
            "the folder libtorch/ was put there by hand and cannot be used: {why}. Remove it \
             and run the command again; libtorch {VERSION} is then assembled in its place."
        ),
        (Some(Wanted::Python), _) => Plan::LinkPython,
        (Some(Wanted::Wheels) | None, _) => Plan::Assemble,
    })
}

fn check_given(given: &Path) -> Result<()> {
    folder::check(given).map_err(|why| {
        anyhow::anyhow!(
            "LIBTORCH is set to {}, which cannot be used: {why}. Point it to libtorch {VERSION}, \
             or unset it and run `cargo xtask setup`, which fetches the right one.",
            given.display()
        )
    })
}

fn link_python(workspace: &Workspace) -> Result<()> {
    let python = Python::find()?;
    let torch = python.torch_folder().with_context(|| {
        format!(
            "`{0}` has no torch. Install it with `{0} -m pip install torch=={VERSION}`, or \
             activate the environment that has it.",
            python.name()
        )
    })?;
    folder::check(&torch).map_err(|why| {
        anyhow::anyhow!(
            "the torch of `{0}` cannot be used: {why}. `{0} -m pip install torch=={VERSION}` \
             installs the right one.",
            python.name()
        )
    })?;
    install::link(workspace, &torch)
}

fn assemble_wheels(workspace: &Workspace) -> Result<()> {
    let platform = Platform::here()?;
    let staging = Staging::new(workspace.root())?;
    let wheels = wheels::gather(workspace.root(), staging.path(), platform)?;
    eprintln!("unpacking libtorch {VERSION} …");
    let finished = staging.path().join("libtorch");
    assemble::assemble(&wheels, platform, &finished)?;
    folder::check(&finished)
        .map_err(|why| anyhow::anyhow!("the assembled libtorch is not whole: {why}"))?;
    install::put_in_place(workspace, &finished)
}

/// Waits until no other process works on the folder. Freed when dropped.
fn lock(workspace: &Workspace) -> Result<File> {
    let path = workspace.root().join("libtorch.lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!("waiting for another process that sets libtorch up …");
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASSEMBLED: State = State::Usable { is_link: false, is_ours: true };
    const BY_HAND: State = State::Usable { is_link: false, is_ours: false };
    const LINKED: State = State::Usable { is_link: true, is_ours: true };

    fn broken(is_link: bool, is_ours: bool) -> State {
        State::Unusable { is_link, is_ours, why: "it holds PyTorch 1.0.0".into() }
    }

    #[test]
    fn a_usable_folder_is_used_whatever_its_origin() {
        for state in [ASSEMBLED, BY_HAND, LINKED] {
            assert_eq!(plan(None, &state).unwrap(), Plan::Use);
        }
        assert_eq!(plan(Some(Wanted::Wheels), &BY_HAND).unwrap(), Plan::Use);
    }

    #[test]
    fn without_a_folder_wheels_are_the_default_and_python_is_a_wish() {
        assert_eq!(plan(None, &State::Absent).unwrap(), Plan::Assemble);
        assert_eq!(plan(Some(Wanted::Wheels), &State::Absent).unwrap(), Plan::Assemble);
        assert_eq!(plan(Some(Wanted::Python), &State::Absent).unwrap(), Plan::LinkPython);
    }

    #[test]
    fn a_wish_replaces_what_was_made_here_but_nothing_made_by_hand() {
        assert_eq!(plan(Some(Wanted::Python), &ASSEMBLED).unwrap(), Plan::LinkPython);
        assert_eq!(plan(Some(Wanted::Wheels), &LINKED).unwrap(), Plan::Assemble);
        assert!(plan(Some(Wanted::Python), &BY_HAND).is_err());
        assert!(plan(Some(Wanted::Python), &broken(false, false)).is_err());
    }

    #[test]
    fn a_broken_folder_is_made_again_only_where_that_loses_nothing() {
        assert_eq!(plan(None, &broken(false, true)).unwrap(), Plan::Assemble);
        let by_hand = plan(None, &broken(false, false)).unwrap_err().to_string();
        assert!(by_hand.contains("1.0.0") && by_hand.contains(VERSION), "{by_hand}");
        let link = plan(None, &broken(true, true)).unwrap_err().to_string();
        assert!(link.contains("--libtorch python") && link.contains(VERSION), "{link}");
        assert_eq!(plan(Some(Wanted::Wheels), &broken(true, true)).unwrap(), Plan::Assemble);
    }

    #[test]
    fn the_flag_is_taken_out_of_the_arguments() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let (wanted, rest) = Wanted::from_arguments(&words("fmt --libtorch python docs")).unwrap();
        assert_eq!((wanted, rest), (Some(Wanted::Python), words("fmt docs")));
        let (wanted, _) = Wanted::from_arguments(&words("--libtorch=wheels")).unwrap();
        assert_eq!(wanted, Some(Wanted::Wheels));
        assert!(Wanted::from_arguments(&words("--libtorch")).is_err());
        let error = Wanted::from_arguments(&words("--libtorch cuda")).unwrap_err().to_string();
        assert!(error.contains("`cuda`") && error.contains("`python`"), "{error}");
    }

    #[test]
    fn a_wrong_libtorch_is_named_together_with_the_right_one() {
        let given = tempfile::tempdir().unwrap();
        std::fs::write(given.path().join("build-version"), "2.9.0+cu128\n").unwrap();
        let error = check_given(given.path()).unwrap_err().to_string();
        assert!(error.contains("2.9.0") && error.contains(VERSION), "{error}");
        assert!(error.contains("unset it"), "{error}");
    }

    #[test]
    #[ignore = "fetches the wheels of every platform (1 GB); run it when their versions change"]
    fn the_wheels_of_every_platform_hold_all_that_their_libraries_need() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for platform in platform::PLATFORMS {
            let staging = tempfile::tempdir_in(root).unwrap();
            let wheels = wheels::gather(root, staging.path(), platform).unwrap();
            let into = staging.path().join("libtorch");
            assemble::assemble(&wheels, platform, &into).unwrap();
            assert_eq!(version::of(&into).as_deref(), Some(VERSION));
            for library in platform.libraries {
                assert!(into.join("lib").join(library).is_file(), "{platform} {library}");
            }
            let listing = std::fs::read_dir(into.join("lib")).unwrap().flatten();
            println!("{platform}: {:?}", listing.map(|it| it.file_name()).collect::<Vec<_>>());
        }
    }
}
