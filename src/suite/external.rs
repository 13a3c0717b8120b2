//! A program as a judge: JSON lines on its standard input and output.
//!
//! The protocol is described in `docs/guide/how-to/external-judges.md`. The program is started once; a line
//! asks, a line answers. Where it crashes, is silent too long or says what is no answer, that
//! image is undecided, with the reason, and the program is started anew for the next.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Expect;
use crate::judge::imported::Ruling;

/// Version of the protocol.
pub const PROTOCOL: u32 = 1;

/// Longest line that is read from a program, in bytes.
const LONGEST_LINE: u64 = 1 << 20;
/// Failed images in a row after which the program is taken to be broken.
const FAILURES_IN_A_ROW: u32 = 5;

/// A program that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ExternalError {
    /// The command line is empty or has an open quote.
    #[error("judge command {command:?} cannot be split into words; close its quotes")]
    Command {
        /// The command line.
        command: String,
    },
    /// It does not start.
    #[error("judge {command:?} cannot be started: {source}; check the path and its permissions")]
    Start {
        /// The command line.
        command: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// It does not say who it is.
    #[error(
        "judge {command:?} did not introduce itself: {reason}; it must answer the line \
         {{\"protocol\":{PROTOCOL},\"hello\":true}} with {{\"name\":…,\"version\":…}}"
    )]
    Hello {
        /// The command line.
        command: String,
        /// What came instead.
        reason: String,
    },
    /// It fails on everything.
    #[error(
        "judge {command:?} failed on {FAILURES_IN_A_ROW} images in a row, the last time because \
         {reason}; run it by hand on one line of the protocol; what was judged before is kept"
    )]
    Broken {
        /// The command line.
        command: String,
        /// What happened last.
        reason: String,
    },
}

/// What is asked of one image.
#[derive(Clone, Debug, Serialize)]
pub struct Question<'a> {
    /// The suite.
    pub suite: &'a str,
    /// The prompt's id in it.
    pub item: &'a str,
    /// Its category.
    pub category: &'a str,
    /// The prompt.
    pub prompt: &'a str,
    /// Seed of the image.
    pub seed: u64,
    /// Path of the image.
    pub image: &'a Path,
    /// What the suite's file expects besides the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<&'a Expect>,
}

#[derive(Serialize)]
struct Asked<'a> {
    protocol: u32,
    id: u64,
    #[serde(flatten)]
    question: &'a Question<'a>,
}

/// What a program says of one image.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The number of the question.
    #[serde(default)]
    pub id: u64,
    /// Whether the image shows what is asked; null when the program cannot tell.
    pub holds: Option<bool>,
    /// A score, if the program gives one.
    #[serde(default)]
    pub score: Option<f64>,
    /// Why not, in words.
    #[serde(default)]
    pub reason: String,
    /// Single expectations.
    #[serde(default)]
    pub atoms: Vec<AnswerAtom>,
}

/// One expectation as a program sees it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerAtom {
    /// What is asked, such as `ball is red`.
    pub name: String,
    /// Whether it holds; null when the program cannot tell.
    pub holds: Option<bool>,
    /// Why not.
    #[serde(default)]
    pub reason: String,
}

impl Answer {
    /// As the rules' own rulings.
    pub fn ruling(&self) -> Ruling {
        let decided = || self.atoms.iter().filter_map(|atom| atom.holds);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let reasons = (!self.reason.is_empty()).then(|| self.reason.clone());
        Ruling {
            holds: self.holds,
            score: self.score.filter(|score| score.is_finite()),
            asked: count(decided().count()),
            held: count(decided().filter(|holds| *holds).count()),
            reasons: reasons.into_iter().collect(),
        }
    }

    fn undecided(reason: &str) -> Answer {
        Answer { reason: format!("the judge was lost: {reason}"), ..Answer::default() }
    }
}

#[derive(Clone, Debug, Deserialize)]
struct Introduction {
    name: String,
    version: String,
}

/// A running program.
#[derive(Debug)]
struct Running {
    child: Child,
    input: ChildStdin,
    lines: Receiver<Result<String, String>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; either way it must not be left behind.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A program that judges.
#[derive(Debug)]
pub struct ExternalJudge {
    command: String,
    timeout: Duration,
    introduction: Introduction,
    running: Option<Running>,
    asked: u64,
    failures: u32,
}

impl ExternalJudge {
    /// Starts a program; `command` is split into words as a shell does, but no shell runs.
    /// `timeout` is how long it may take for one image.
    ///
    /// # Errors
    /// [`ExternalError`] when it cannot be started or does not introduce itself.
    pub fn start(command: &str, timeout: Duration) -> Result<Self, ExternalError> {
        let introduction = Introduction { name: String::new(), version: String::new() };
        let command = command.to_owned();
        let mut judge =
            Self { command, timeout, introduction, running: None, asked: 0, failures: 0 };
        judge.introduction = judge.restart()?;
        Ok(judge)
    }

    /// The name it is known by in tables, `external/<name>`, and its version.
    pub fn name(&self) -> (String, String) {
        let Introduction { name, version } = &self.introduction;
        (format!("external/{name}"), version.clone())
    }

    /// Asks about one image. What goes wrong with it is part of the answer.
    ///
    /// # Errors
    /// [`ExternalError::Broken`] after five failures in a row; [`ExternalError::Start`] and
    /// [`ExternalError::Hello`] when it cannot be started again.
    pub fn ask(&mut self, question: &Question<'_>) -> Result<Answer, ExternalError> {
        if self.running.is_none() {
            self.restart()?;
        }
        self.asked += 1;
        match self.exchange(&Asked { protocol: PROTOCOL, id: self.asked, question }) {
            Ok(answer) => {
                self.failures = 0;
                Ok(answer)
            }
            Err(reason) => {
                self.running = None;
                self.failures += 1;
                if self.failures >= FAILURES_IN_A_ROW {
                    return Err(ExternalError::Broken { command: self.command.clone(), reason });
                }
                Ok(Answer::undecided(&reason))
            }
        }
    }

    fn exchange(&mut self, asked: &Asked<'_>) -> Result<Answer, String> {
        let line = serde_json::to_string(asked).map_err(|error| error.to_string())?;
        let answer = self.line(&line)?;
        let answer: Answer = serde_json::from_str(&answer)
            .map_err(|error| format!("its answer is none: {error}"))?;
        // A late answer to the question before must not count for this one.
        if answer.id != asked.id {
            return Err(format!("it answered question {} instead of {}", answer.id, asked.id));
        }
        Ok(answer)
    }

    /// Writes a line and waits for one.
    fn line(&mut self, line: &str) -> Result<String, String> {
        let running = self.running.as_mut().ok_or("it is not running")?;
        let sent = running.input.write_all(line.as_bytes());
        let sent = sent.and_then(|()| running.input.write_all(b"\n"));
        let sent = sent.and_then(|()| running.input.flush());
        sent.map_err(|error| format!("it reads no more ({error})"))?;
        match running.lines.recv_timeout(self.timeout) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("it took more than {} s", self.timeout.as_secs_f64()))
            }
            Err(RecvTimeoutError::Disconnected) => Err("it ended".to_owned()),
        }
    }

    fn restart(&mut self) -> Result<Introduction, ExternalError> {
        let words = shlex::split(&self.command).filter(|words| !words.is_empty());
        let command = self.command.clone();
        let Some((program, rest)) = words.as_deref().and_then(<[String]>::split_first) else {
            return Err(ExternalError::Command { command });
        };
        let start = |source| ExternalError::Start { command: command.clone(), source };
        let mut child = Command::new(program)
            .args(rest)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(start)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(start(std::io::Error::other("it has no standard input and output")));
        };
        let (send, lines) = sync_channel(1);
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            while let Some(line) = read_line(&mut output) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        self.running = Some(Running { child, input, lines });
        let hello = format!("{{\"protocol\":{PROTOCOL},\"hello\":true}}");
        let introduced = self.line(&hello).and_then(|answer| {
            serde_json::from_str(&answer).map_err(|error| format!("{answer:?}: {error}"))
        });
        introduced.map_err(|reason| {
            self.running = None;
            ExternalError::Hello { command, reason }
        })
    }
}

/// The next line that is not blank; `None` at the end.
fn read_line(output: &mut impl BufRead) -> Option<Result<String, String>> {
    loop {
        let mut line = Vec::new();
        match output.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Err(error) => return Some(Err(format!("its output cannot be read: {error}"))),
            Ok(0) => return None,
            Ok(_) if line.len() as u64 == LONGEST_LINE => {
                return Some(Err("its answer is longer than 1 MiB".to_owned()));
            }
            Ok(_) => {}
        }
        match String::from_utf8(line) {
            Ok(text) if text.trim().is_empty() => {}
            Ok(text) => return Some(Ok(text)),
            Err(_) => return Some(Err("its answer is not UTF-8".to_owned())),
        }
    }
}
