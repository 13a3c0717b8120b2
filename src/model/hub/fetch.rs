//! The hub's protocol, as far as a download needs it: the list of a model's files, a file's
//! digest and size from the head of its address, its bytes from any place on.
//!
//! A file's tag is its digest: SHA-256 of what Git LFS keeps, else Git's own SHA-1 of
//! `blob <length>\0<content>`. It names the file in the cache and is checked when all is there.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, ETAG, HeaderMap, HeaderValue, LOCATION, RANGE,
};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::pull::{HubError, Progress};
use super::{BRANCH, home, variable};

/// A model's files.
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: Vec<String>,
}

#[derive(Deserialize)]
struct ModelInfo {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// A file on the hub.
pub(super) struct RemoteFile {
    name: String,
    url: Url,
    pub(super) tag: String,
    pub(super) bytes: u64,
}

/// Talks to the hub about one model.
pub(super) struct Client {
    id: String,
    endpoint: String,
    runtime: tokio::runtime::Runtime,
    following: reqwest::Client,
    /// A file's digest stands in the hub's own answer, not in that of the store it points to.
    staying: reqwest::Client,
}

/// Attempts at one file; each goes on where the last broke off.
const ATTEMPTS: usize = 3;
/// Redirects within the hub, as for a model that was renamed.
const MOST_REDIRECTS: usize = 5;

impl Client {
    pub(super) fn new(id: &str) -> Result<Self, HubError> {
        let text = |name| variable(name).and_then(|value| value.into_string().ok());
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let network = |e: &dyn std::error::Error| HubError::Network {
            url: endpoint.clone(),
            problem: with_causes(e),
        };
        let client = |redirects| {
            reqwest::Client::builder()
                .user_agent(concat!("denoscope/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(Duration::from_secs(20))
                .read_timeout(Duration::from_secs(60))
                .default_headers(authorisation())
                .redirect(redirects)
                .build()
                .map_err(|e| network(&e))
        };
        // reqwest takes the token out of a request that is sent on to another host.
        let following = client(reqwest::redirect::Policy::limited(10))?;
        let staying = client(reqwest::redirect::Policy::none())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| network(&e))?;
        Ok(Self { id: id.to_owned(), endpoint, runtime, following, staying })
    }

    /// The files of the main branch.
    pub(super) fn listing(&self) -> Result<Listing, HubError> {
        let url = self.url(&format!("api/models/{}/revision/{BRANCH}", self.id))?;
        let info: ModelInfo = self.runtime.block_on(async {
            let response = self.following.get(url.clone()).send().await;
            let response = accepted(&url, response)?;
            response.json().await.map_err(|e| protocol(&url, with_causes(&e)))
        })?;
        if !is_digest(&info.sha) {
            return Err(protocol(&url, format!("the commit is `{}`", info.sha)));
        }
        let files = info.siblings.into_iter().map(|sibling| sibling.rfilename).collect();
        Ok(Listing { commit: info.sha, files })
    }

    /// What the hub knows of a file.
    pub(super) fn file(&self, commit: &str, name: &str) -> Result<RemoteFile, HubError> {
        let url = self.url(&format!("{}/resolve/{commit}/{name}", self.id))?;
        let head = self.runtime.block_on(self.head(url.clone()))?;
        let field = |names: &[&str]| {
            let value = names.iter().find_map(|name| head.get(*name))?.to_str().ok()?;
            Some(value.trim_start_matches("W/").trim_matches('"').to_owned())
        };
        let tag = field(&["x-linked-etag", ETAG.as_str()]).filter(|tag| is_digest(tag));
        let bytes = field(&["x-linked-size", CONTENT_LENGTH.as_str()]);
        let bytes = bytes.and_then(|text| text.parse().ok());
        match (tag, bytes) {
            (Some(tag), Some(bytes)) => Ok(RemoteFile { name: name.to_owned(), url, tag, bytes }),
            _ => Err(protocol(&url, "an answer without digest or size of the file".to_owned())),
        }
    }

    /// The head of the hub's own answer, redirects within the hub followed.
    async fn head(&self, mut url: Url) -> Result<HeaderMap, HubError> {
        for _ in 0..MOST_REDIRECTS {
            let response = self.staying.head(url.clone()).send().await;
            let response = accepted(&url, response)?;
            let headers = response.headers();
            let place = headers.get(LOCATION).and_then(|place| place.to_str().ok());
            match place.filter(|place| place.starts_with('/')) {
                Some(within) if !headers.contains_key("x-linked-etag") => {
                    url = url.join(within).map_err(|e| protocol(&url, e.to_string()))?;
                }
                _ => return Ok(headers.clone()),
            }
        }
        Err(protocol(&url, "redirects without an end".to_owned()))
    }

    /// Fetches a file to `blob`, going on with what is there of it, and checks its digest.
    pub(super) fn fetch(
        &self,
        remote: &RemoteFile,
        blob: &Path,
        progress: Progress<'_>,
    ) -> Result<(), HubError> {
        let part = blob.with_extension("incomplete");
        let io = |source| HubError::Io { path: part.clone(), source };
        std::fs::create_dir_all(blob.parent().unwrap_or(blob)).map_err(io)?;
        let mut file =
            OpenOptions::new().create(true).read(true).append(true).open(&part).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(HubError::Busy { path: part }),
            // A file system without locks: the digest still tells a mixture.
            Err(std::fs::TryLockError::Error(_)) => {}
        }
        let mut attempt = 1;
        loop {
            let fetched = self.runtime.block_on(self.append(remote, &part, &mut file, progress));
            match fetched {
                Ok(()) => break,
                Err(HubError::Network { .. }) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        }
        file.sync_all().map_err(io)?;
        if let Err(problem) = check(&part, remote).map_err(io)? {
            std::fs::remove_file(&part).map_err(io)?;
            return Err(HubError::Damaged { file: remote.name.clone(), problem });
        }
        std::fs::rename(&part, blob).map_err(io)
    }

    async fn append(
        &self,
        remote: &RemoteFile,
        part: &Path,
        file: &mut File,
        progress: Progress<'_>,
    ) -> Result<(), HubError> {
        let io = |source| HubError::Io { path: part.to_owned(), source };
        let mut done = file.metadata().map_err(io)?.len();
        if done > remote.bytes {
            file.set_len(0).map_err(io)?;
            done = 0;
        }
        if done == remote.bytes {
            return Ok(());
        }
        let mut request = self.following.get(remote.url.clone());
        if done > 0 {
            request = request.header(RANGE, format!("bytes={done}-"));
        }
        let mut response = accepted(&remote.url, request.send().await)?;
        if done > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
            // The server sends all of it again.
            file.set_len(0).map_err(io)?;
            done = 0;
        }
        progress(&remote.name, done, remote.bytes);
        while let Some(chunk) = response.chunk().await.map_err(|e| network(&remote.url, &e))? {
            done += chunk.len() as u64;
            if done > remote.bytes {
                let problem = format!("more than the {} bytes that it has", remote.bytes);
                return Err(protocol(&remote.url, problem));
            }
            file.write_all(&chunk).map_err(io)?;
            progress(&remote.name, done, remote.bytes);
        }
        if done < remote.bytes {
            let problem = format!("broke off after {done} of {} bytes", remote.bytes);
            return Err(HubError::Network { url: remote.url.to_string(), problem });
        }
        Ok(())
    }

    fn url(&self, path: &str) -> Result<Url, HubError> {
        let url = format!("{}/{path}", self.endpoint);
        Url::parse(&url).map_err(|e| HubError::Protocol { url, problem: e.to_string() })
    }
}

/// `HF_TOKEN`, or the token that the hub's own tools stored.
fn authorisation() -> HeaderMap {
    let stored = || {
        let path = variable("HF_TOKEN_PATH").map_or_else(|| home().join("token"), PathBuf::from);
        std::fs::read_to_string(path).ok()
    };
    let token = variable("HF_TOKEN").and_then(|token| token.into_string().ok()).or_else(stored);
    let bearer = |token: String| HeaderValue::try_from(format!("Bearer {}", token.trim())).ok();
    let value = token.filter(|token| !token.trim().is_empty()).and_then(bearer);
    value
        .into_iter()
        .map(|mut value| {
            value.set_sensitive(true);
            (AUTHORIZATION, value)
        })
        .collect()
}

fn accepted(url: &Url, sent: reqwest::Result<Response>) -> Result<Response, HubError> {
    let response = sent.map_err(|e| network(url, &e))?;
    let status = response.status();
    let remedy = match status {
        _ if status.is_success() || status.is_redirection() => return Ok(response),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "accept the model's licence on its page, and set HF_TOKEN to a token that may read it"
        }
        StatusCode::NOT_FOUND => "check the id; a private model needs HF_TOKEN",
        StatusCode::TOO_MANY_REQUESTS => "wait, or set HF_TOKEN",
        _ => "try again later",
    };
    Err(HubError::Status { url: url.to_string(), status: status.to_string(), remedy })
}

fn network(url: &Url, error: &dyn std::error::Error) -> HubError {
    HubError::Network { url: url.to_string(), problem: with_causes(error) }
}

fn protocol(url: &Url, problem: String) -> HubError {
    HubError::Protocol { url: url.to_string(), problem }
}

/// An error with what is behind it: the outermost of reqwest's says nothing.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// True for hexadecimal digests, which alone become names of files.
fn is_digest(text: &str) -> bool {
    (40..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Compares size and digest; the inner error says what differs.
fn check(part: &Path, remote: &RemoteFile) -> std::io::Result<Result<(), String>> {
    const SHA256_DIGITS: usize = 64;
    let mut file = File::open(part)?;
    let bytes = file.metadata()?.len();
    if bytes != remote.bytes {
        return Ok(Err(format!("{bytes} bytes, expected {}", remote.bytes)));
    }
    let got = if remote.tag.len() == SHA256_DIGITS {
        digest(&mut file, Sha256::new())?
    } else {
        digest(&mut file, Sha1::new().chain_update(format!("blob {bytes}\0")))?
    };
    let fits = got == remote.tag;
    Ok(if fits { Ok(()) } else { Err(format!("its digest is {got}, expected {}", remote.tag)) })
}

fn digest(file: &mut File, mut hasher: impl Digest) -> std::io::Result<String> {
    const AT_ONCE: usize = 1 << 20;
    let mut buffer = vec![0; AT_ONCE];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
