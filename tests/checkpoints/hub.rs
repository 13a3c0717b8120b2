//! Models from a hub: a small server on this machine speaks its protocol.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use assert_cmd::Command;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::tiny;

const ID: &str = "someone/tiny";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_test";

/// A request that came in: method, path, the range and the token it had.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    method: String,
    path: String,
    range: Option<String>,
    token: Option<String>,
}

/// How the server misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    /// Breaks off in the middle of each answer with many bytes.
    BreaksOff,
    /// Sends other bytes than the digest was made of.
    Damages,
    /// Wants a token.
    Gated,
}

struct Server {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    fault: Arc<Mutex<Fault>>,
}

/// Files kept in Git LFS, whose tags are SHA-256; the others have Git's SHA-1.
fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors")
}

fn tag(name: &str, bytes: &[u8]) -> String {
    use sha1::Sha1;
    if is_large(name) {
        return format!("{:x}", Sha256::digest(bytes));
    }
    format!("{:x}", Sha1::digest([format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat()))
}

impl Server {
    /// Serves the tiny model, with a pickle and a picture besides.
    fn start() -> Self {
        let mut files = BTreeMap::new();
        collect(&tiny(), &tiny(), &mut files);
        files.insert("unet/diffusion_pytorch_model.bin".to_owned(), vec![0x80, 2]);
        files.insert("picture.png".to_owned(), vec![1, 2, 3]);
        let half = files["unet/diffusion_pytorch_model.safetensors"].clone();
        files.insert("unet/diffusion_pytorch_model.fp16.safetensors".to_owned(), half);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (asked, fault) = (Arc::default(), Arc::default());
        let server = Self { address, asked: Arc::clone(&asked), fault: Arc::clone(&fault) };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (files, asked, fault) =
                    (files.clone(), Arc::clone(&asked), *fault.lock().unwrap());
                std::thread::spawn(move || answer(stream.unwrap(), &files, &asked, fault));
            }
        });
        server
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
        self.asked.lock().unwrap().clear();
    }

    /// The ranges of a large file that its store was asked for.
    fn fetched(&self, name: &str) -> Vec<Option<String>> {
        let of_file = |a: &Asked| a.method == "GET" && a.path == format!("/store/{name}");
        self.asked().into_iter().filter(of_file).map(|a| a.range).collect()
    }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.insert(name, std::fs::read(&path).unwrap());
        }
    }
}

/// One request, one answer, one connection.
fn answer(
    mut stream: TcpStream,
    files: &BTreeMap<String, Vec<u8>>,
    log: &Mutex<Vec<Asked>>,
    fault: Fault,
) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let header = |name: &str| {
        let starts = |h: &&String| h.to_ascii_lowercase().starts_with(&format!("{name}: "));
        headers.iter().find(starts).map(|h| h[name.len() + 2..].to_owned())
    };
    let asked = Asked {
        method: method.clone(),
        path: path.clone(),
        range: header("range"),
        token: header("authorization"),
    };
    log.lock().unwrap().push(asked.clone());
    let mut reply = |status: &str, headers: &str, body: &[u8]| {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        if method == "HEAD" {
            return;
        }
        if fault == Fault::BreaksOff && length > 100_000 {
            // The test is about what the client makes of it, not about a clean end here.
            drop(stream.write_all(&body[..length / 2]));
            return;
        }
        drop(stream.write_all(body));
    };
    let expected = format!("Bearer {TOKEN}");
    if fault == Fault::Gated && asked.token.as_deref() != Some(expected.as_str()) {
        return reply("401 Unauthorized", "", b"{}");
    }
    if path == format!("/api/models/{ID}/revision/main") {
        let siblings: Vec<_> =
            files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
        let info = serde_json::json!({ "sha": COMMIT, "siblings": siblings });
        return reply("200 OK", "", info.to_string().as_bytes());
    }
    let Some(name) = path.strip_prefix(&format!("/{ID}/resolve/{COMMIT}/")) else {
        // Large files are in a store of their own, as on the hub.
        let Some(name) = path.strip_prefix("/store/") else {
            return reply("404 Not Found", "", b"");
        };
        let mut bytes = files[name].clone();
        if fault == Fault::Damages {
            *bytes.last_mut().unwrap() ^= 1;
        }
        return match asked.range.as_deref().and_then(|r| r.strip_prefix("bytes=")) {
            Some(range) => {
                let start: usize = range.trim_end_matches('-').parse().unwrap();
                let places = format!("content-range: bytes {start}-{0}/{0}\r\n", bytes.len());
                reply("206 Partial Content", &places, &bytes[start..]);
            }
            None => reply("200 OK", "", &bytes),
        };
    };
    let Some(bytes) = files.get(name) else { return reply("404 Not Found", "", b"") };
    let tag = tag(name, bytes);
    if is_large(name) {
        let headers = format!(
            "x-repo-commit: {COMMIT}\r\nx-linked-etag: \"{tag}\"\r\nx-linked-size: {}\r\n\
             location: /store/{name}\r\n",
            bytes.len()
        );
        return reply("302 Found", &headers, b"");
    }
    reply("200 OK", &format!("x-repo-commit: {COMMIT}\r\netag: \"{tag}\"\r\n"), bytes);
}

fn probe(home: &TempDir, server: &Server, words: &[&str]) -> Command {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("probe");
    command.args(words).env("HF_HOME", home.path()).env("HF_ENDPOINT", &server.address);
    for variable in ["HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN_PATH"] {
        command.env_remove(variable);
    }
    for proxy in
        ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"]
    {
        command.env_remove(proxy);
    }
    command.current_dir(home.path());
    command
}

fn model(home: &TempDir) -> PathBuf {
    home.path().join("hub/models--someone--tiny")
}

const PULL: [&str; 3] = ["models", "pull", ID];
const UNET: &str = "unet/diffusion_pytorch_model.safetensors";

#[track_caller]
fn fails(mut command: Command, says: &[&str]) {
    let assert = command.assert().code(2).stdout("");
    let message = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    for word in says {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn a_pulled_model_is_found_by_its_id_without_the_network() {
    let (home, server) = (TempDir::new().unwrap(), Server::start());
    let before = ["sites", "step.x0", "--model", ID];
    fails(probe(&home, &server, &before), &["probe models pull someone/tiny"]);
    probe(&home, &server, &PULL).assert().success();

    let snapshot = model(&home).join("snapshots").join(COMMIT);
    let mut there = BTreeMap::new();
    collect(&snapshot, &snapshot, &mut there);
    let mut expected = BTreeMap::new();
    collect(&tiny(), &tiny(), &mut expected);
    assert_eq!(there, expected, "all that is needed, no pickle, no variant, no picture");
    // One blob a file, named by its digest.
    for (name, bytes) in &there {
        let blob = model(&home).join("blobs").join(tag(name, bytes));
        assert_eq!(&std::fs::read(blob).unwrap(), bytes, "{name}");
    }

    server.set(Fault::None);
    probe(&home, &server, &before).assert().success();
    let list = probe(&home, &server, &["models", "list"]).assert().success();
    let list = String::from_utf8(list.get_output().stdout.clone()).unwrap();
    assert!(list.contains("shapes") && list.contains(ID), "{list}");
    probe(&home, &server, &["models", "inspect", ID]).assert().success();
    assert_eq!(server.asked(), [], "no network");
    // Again: heads only.
    probe(&home, &server, &PULL).assert().success();
    assert!(server.asked().iter().all(|a| a.method == "HEAD" || a.path.starts_with("/api/")));
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let (home, server) = (TempDir::new().unwrap(), Server::start());
    server.set(Fault::BreaksOff);
    fails(probe(&home, &server, &PULL), &[UNET, "try again to go on"]);
    // Nothing half looks whole.
    fails(probe(&home, &server, &["sites", "--model", ID]), &["probe models pull"]);
    // Each of three attempts got half of what was left.
    let (mut done, mut ranges) = (0, Vec::new());
    let length = std::fs::metadata(tiny().join(UNET)).unwrap().len();
    for _ in 0..3 {
        ranges.push((done > 0).then(|| format!("bytes={done}-")));
        done += (length - done) / 2;
    }
    assert_eq!(server.fetched(UNET), ranges);

    server.set(Fault::None);
    probe(&home, &server, &PULL).assert().success();
    assert_eq!(server.fetched(UNET), [Some(format!("bytes={done}-"))]);
    probe(&home, &server, &["models", "inspect", ID, "--numbers"]).assert().success();
}

#[test]
fn damage_on_the_way_is_found() {
    let (home, server) = (TempDir::new().unwrap(), Server::start());
    server.set(Fault::Damages);
    fails(probe(&home, &server, &PULL), &["digest", "model.safetensors", "try again"]);
    server.set(Fault::None);
    probe(&home, &server, &PULL).assert().success();
    probe(&home, &server, &["models", "inspect", ID, "--numbers"]).assert().success();
}

#[test]
fn a_variant_is_fetched_on_request() {
    let (home, server) = (TempDir::new().unwrap(), Server::start());
    let words = [&PULL[..], &["--variant", "fp16"]].concat();
    // This model has the variant of one part only.
    fails(probe(&home, &server, &words), &["text_encoder", "fp16"]);
    assert_eq!(server.fetched(UNET), [] as [Option<String>; 0]);
}

#[test]
fn gated_models_want_a_token() {
    let (home, server) = (TempDir::new().unwrap(), Server::start());
    server.set(Fault::Gated);
    fails(probe(&home, &server, &PULL), &["401", "HF_TOKEN", "licence"]);
    probe(&home, &server, &PULL).env("HF_TOKEN", TOKEN).assert().success();

    let stored = TempDir::new().unwrap();
    std::fs::write(stored.path().join("token"), format!("{TOKEN}\n")).unwrap();
    probe(&stored, &server, &PULL).assert().success();
}

#[test]
fn what_cannot_be_pulled_says_why() {
    let (home, server) = (TempDir::new().unwrap(), Server::start());
    fails(probe(&home, &server, &["models", "pull", "someone/else"]), &["404", "check the id"]);
    fails(probe(&home, &server, &["models", "pull", "tiny"]), &["owner/name"]);
    let mut offline = probe(&home, &server, &PULL);
    offline.env("HF_HUB_OFFLINE", "1");
    fails(offline, &["HF_HUB_OFFLINE"]);
    let mut nobody = probe(&home, &server, &PULL);
    nobody.env("HF_ENDPOINT", "http://127.0.0.1:9");
    fails(nobody, &["127.0.0.1:9"]);
}
