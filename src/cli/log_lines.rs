//! Progress where stderr is a pipe or a log: whole lines, few of them, nothing that moves a cursor.

use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::TermLike;

/// Time between lines, and before the first: short runs leave none.
const BETWEEN: Duration = Duration::from_secs(30);

/// Takes what a progress bar draws and says it as a line from time to time.
#[derive(Debug)]
pub(super) struct LogLines {
    state: Mutex<State>,
    between: Duration,
    say: fn(&str),
}

#[derive(Debug)]
struct State {
    said: Instant,
    drawn: String,
}

impl LogLines {
    pub(super) fn new() -> Self {
        Self::every(BETWEEN, super::output::note)
    }

    fn every(between: Duration, say: fn(&str)) -> Self {
        let state = Mutex::new(State { said: Instant::now(), drawn: String::new() });
        Self { state, between, say }
    }

    fn with_state<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        // What another thread left half drawn is drawn anew.
        with(&mut self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl TermLike for LogLines {
    fn width(&self) -> u16 {
        const COLUMNS: u16 = 100;
        COLUMNS
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.with_state(|state| state.drawn += text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.with_state(|state| state.drawn.clear());
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let line = self.with_state(|state| {
            let line = std::mem::take(&mut state.drawn);
            let due = state.said.elapsed() >= self.between && !line.trim().is_empty();
            due.then(|| {
                state.said = Instant::now();
                line
            })
        });
        if let Some(line) = line {
            (self.say)(line.trim());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

    use super::LogLines;

    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

    #[test]
    fn lines_are_whole_and_as_few_as_asked_for() {
        let bar_every = |between: Duration| {
            let say = |text: &str| SAID.lock().unwrap().push(text.to_owned());
            let target = Box::new(LogLines::every(between, say));
            let target = ProgressDrawTarget::term_like_with_hz(target, u8::MAX);
            let bar = ProgressBar::with_draw_target(Some(4), target);
            bar.set_style(ProgressStyle::with_template("{pos}/{len} steps").unwrap());
            for _ in 0..4 {
                bar.inc(1);
                bar.tick();
            }
            bar.finish_and_clear();
            std::mem::take(&mut *SAID.lock().unwrap())
        };
        assert!(bar_every(Duration::from_secs(3600)).is_empty());
        let said = bar_every(Duration::ZERO);
        assert!(said.iter().any(|line| line == "4/4 steps"), "{said:?}");
        assert!(said.iter().all(|line| line.ends_with("/4 steps") && !line.contains('\u{1b}')));
    }
}
