//! `probe report --serve`: a folder of runs in a browser, on this machine alone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use anyhow::{Result, anyhow, bail};
use tiny_http::{Header, Method, Request, Response, Server};

use super::{made_again, rerun};
use crate::cli::output::{line, note};
use crate::probe::stored::StoredError;
use crate::report::{Block, Index, IndexedRun, Report, Section, UnfinishedRun};
use crate::run::{MANIFEST_FILE, StoredRun, list_runs, unfinished_runs};

/// How often Ctrl-C is looked for.
const PATIENCE: Duration = Duration::from_millis(200);
/// After how many seconds the list of runs is asked for again while a run is in progress.
const RENEWED_AFTER: u32 = 3;
/// Names by which a browser may ask: others would be pages elsewhere that borrow this server.
const OWN_NAMES: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];
/// Ending of the query that keeps the list from renewing itself.
const STILL: &str = "/?still";

/// Serves until Ctrl-C.
pub(super) fn run(folder: &Path, port: u16) -> Result<u8> {
    if !folder.is_dir() {
        bail!(
            "{}: there is no such folder of runs; name one that probe wrote to with --out",
            folder.display()
        );
    }
    let server =
        Server::http(("127.0.0.1", port)).map_err(|error| in_words(error.as_ref(), port))?;
    let port = server.server_addr().to_ip().map_or(port, |address| address.port());
    line(&format!("http://127.0.0.1:{port}/"))?;
    note(&format!("shows the runs in {} to this machine; Ctrl-C ends it", folder.display()));
    let mut shelf = Shelf { folder: folder.to_owned(), made: BTreeMap::new() };
    while !crate::INTERRUPTED.load(Ordering::SeqCst) {
        if let Some(request) = server.recv_timeout(PATIENCE)? {
            answer(&mut shelf, request);
        }
    }
    Ok(0)
}

/// Why no server could be started.
fn in_words(error: &(dyn std::error::Error + Send + Sync + 'static), port: u16) -> anyhow::Error {
    match error.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::AddrInUse) => anyhow!(
            "port {port} is in use, perhaps by another probe report --serve; choose one with \
             --port N, or --port 0 for any that is free"
        ),
        Some(io::ErrorKind::PermissionDenied) => {
            anyhow!("port {port} may not be used by this user; choose one above 1023 with --port N")
        }
        _ => {
            anyhow!("cannot listen on 127.0.0.1:{port}: {error}; choose another port with --port N")
        }
    }
}

/// What a browser gets.
struct Page {
    code: u16,
    kind: &'static str,
    bytes: Vec<u8>,
    renewed: bool,
}

impl Page {
    fn html(html: String) -> Self {
        Self {
            code: 200,
            kind: "text/html; charset=utf-8",
            bytes: html.into_bytes(),
            renewed: false,
        }
    }
}

/// The runs of a folder, and the pages that were made of them.
struct Shelf {
    folder: PathBuf,
    /// By the run's name: when its manifest was written, and its page.
    made: BTreeMap<String, (Option<SystemTime>, String)>,
}

fn answer(shelf: &mut Shelf, request: Request) {
    let page = if !is_own(&request) {
        refusal(403, "This address is not this machine's.")
    } else if !matches!(request.method(), Method::Get | Method::Head) {
        refusal(405, "Only reading is possible here.")
    } else {
        shelf.page(request.url()).unwrap_or_else(|error| refusal(500, &format!("{error:#}")))
    };
    let mut response = Response::from_data(page.bytes).with_status_code(page.code);
    let mut headers = vec![
        ("Content-Type", page.kind.to_owned()),
        ("Cache-Control", "no-store".to_owned()),
        ("X-Content-Type-Options", "nosniff".to_owned()),
    ];
    if page.renewed {
        headers.push(("Refresh", RENEWED_AFTER.to_string()));
    }
    for (name, value) in headers {
        if let Ok(header) = Header::from_bytes(name, value) {
            response.add_header(header);
        }
    }
    // A browser that went away is no error.
    if let Err(error) = request.respond(response) {
        tracing::debug!(%error, "a page was not fetched to its end");
    }
}

/// Whether the browser asked for this machine.
fn is_own(request: &Request) -> bool {
    let host = request.headers().iter().find(|header| header.field.equiv("Host"));
    host.is_some_and(|host| {
        let host = host.value.as_str();
        let name = host.rsplit_once(':').map_or(host, |(name, port)| {
            if port.chars().all(|c| c.is_ascii_digit()) { name } else { host }
        });
        OWN_NAMES.contains(&name)
    })
}

fn refusal(code: u16, text: &str) -> Page {
    let mut report = Report::new("This page cannot be shown");
    report.section(Section::new("Why").with(Block::Warning(text.to_owned())));
    let html = report.to_html().unwrap_or_else(|_| text.to_owned());
    Page { code, ..Page::html(html) }
}

impl Shelf {
    /// `/` is the list, `/NAME/` a run's report, `/NAME/PATH` a file of it.
    fn page(&mut self, url: &str) -> Result<Page> {
        let path = url.split('?').next().unwrap_or_default();
        if path == "/" {
            return self.index(url == STILL);
        }
        let (name, file) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
        if !list_runs(&self.folder)?.iter().any(|run| run == name) {
            return Ok(refusal(404, "There is no such run in this folder; go back to the list."));
        }
        match file {
            "" => Ok(Page::html(self.report(name)?)),
            file => {
                let path = StoredRun::open(&self.folder.join(name))?.file(file)?;
                Ok(Page {
                    kind: kind_of(file),
                    bytes: fs::read(path)?,
                    ..Page::html(String::new())
                })
            }
        }
    }

    fn report(&mut self, name: &str) -> Result<String> {
        let root = self.folder.join(name);
        let written = fs::metadata(root.join(MANIFEST_FILE)).and_then(|m| m.modified()).ok();
        if let Some((_, html)) = self.made.get(name).filter(|(when, _)| *when == written) {
            return Ok(html.clone());
        }
        let run = StoredRun::open(&root)?;
        let html = match made_again(&run) {
            Ok(made) => made.report.to_html()?,
            // What cannot be made again is shown as the run made it.
            Err(error) if is_of_other_runs(&error) => fs::read_to_string(run.file("report.html")?)?,
            Err(error) => return Err(error),
        };
        self.made.insert(name.to_owned(), (written, html.clone()));
        Ok(html)
    }

    fn index(&self, still: bool) -> Result<Page> {
        let entry = |name: String| match StoredRun::open(&self.folder.join(&name)) {
            Ok(run) => indexed(&run, name),
            Err(error) => {
                IndexedRun { problem: Some(error.to_string()), name, ..IndexedRun::default() }
            }
        };
        let mut runs: Vec<IndexedRun> = list_runs(&self.folder)?.into_iter().map(entry).collect();
        runs.reverse();
        let unfinished = unfinished_runs(&self.folder)?.into_iter();
        let unfinished = unfinished.map(|run| UnfinishedRun { name: run.name, images: run.images });
        let index = Index {
            folder: self.folder.display().to_string(),
            runs,
            unfinished: unfinished.collect(),
            renewed_after: (!still).then_some(RENEWED_AFTER),
        };
        let renewed = !still && !index.unfinished.is_empty();
        Ok(Page { renewed, ..Page::html(index.to_html()) })
    }
}

fn indexed(run: &StoredRun, name: String) -> IndexedRun {
    let manifest = run.manifest();
    let prompt = match manifest.prompts.as_slice() {
        [] => String::new(),
        [one, rest @ ..] if rest.iter().all(|prompt| prompt == one) => one.clone(),
        several => format!("{} prompts", several.len()),
    };
    IndexedRun {
        name,
        probe: manifest.probe.clone(),
        prompt,
        model: manifest.model.as_ref().map(|model| model.name.clone()).unwrap_or_default(),
        started: manifest.started.to_string(),
        command: rerun(run).map(|rerun| rerun.command).unwrap_or_default(),
        problem: None,
    }
}

fn is_of_other_runs(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(StoredError::OfOtherRuns { .. }))
}

/// The kind of a file by its ending.
fn kind_of(file: &str) -> &'static str {
    match file.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "json" => "application/json",
        "md" | "toml" | "csv" | "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::kind_of;

    #[test]
    fn files_have_the_kind_of_their_ending() {
        assert_eq!(kind_of("images/000.png"), "image/png");
        assert_eq!(kind_of("spec.toml"), "text/plain; charset=utf-8");
        assert_eq!(kind_of("tables/images.parquet"), "application/octet-stream");
    }
}
