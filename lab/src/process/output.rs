//! One output of a running program, read line by line into memory, so that the program never waits for its reader.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Result;
use anyhow::bail;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncRead;
use tokio::io::BufReader;
use tokio::sync::watch;

/// The lines that have come so far; a clone sees the same.
#[derive(Clone, Debug)]
pub struct Output {
    lines: Arc<Mutex<VecDeque<String>>>,
    progress: watch::Receiver<Progress>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    lines: u64,
    closed: bool,
}

impl Default for Output {
    fn default() -> Self {
        let (_, progress) = watch::channel(Progress { lines: 0, closed: true });
        Self { lines: Arc::default(), progress }
    }
}

impl Output {
    /// Reads `source` to its end in the background, and keeps the last `kept` lines. Bytes that are not UTF-8 are
    /// replaced; control characters are kept.
    pub fn read(source: impl AsyncRead + Send + Unpin + 'static, kept: usize) -> Self {
        let (sender, progress) = watch::channel(Progress::default());
        let lines: Arc<Mutex<VecDeque<String>>> = Arc::default();
        let shared = lines.clone();
        tokio::spawn(async move {
            let mut source = BufReader::with_capacity(64 * 1024, source);
            let mut line = Vec::new();
            while source.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                let mut lines = shared.lock().unwrap_or_else(PoisonError::into_inner);
                lines.push_back(String::from_utf8_lossy(&line).into_owned());
                if lines.len() > kept {
                    lines.pop_front();
                }
                drop(lines);
                line.clear();
                sender.send_modify(|progress| progress.lines += 1);
            }
            sender.send_modify(|progress| progress.closed = true);
        });
        Self { lines, progress }
    }

    /// How many lines have come, kept or not.
    pub fn count(&self) -> u64 {
        self.progress.borrow().lines
    }

    /// Whether the program has closed this output, as it does when it ends.
    pub fn is_closed(&self) -> bool {
        self.progress.borrow().closed
    }

    /// The kept lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The kept lines after the program's end. A grandchild that holds the pipe open can't make this wait for ever.
    pub async fn all(&self) -> Vec<String> {
        let mut progress = self.progress.clone();
        let _ = tokio::time::timeout(
            Duration::from_secs(5),
            progress.wait_for(|progress| progress.closed),
        )
        .await;
        self.lines()
    }

    /// Waits for the first kept line for which `wanted` returns true.
    pub async fn line(&self, deadline: Duration, wanted: impl Fn(&str) -> bool) -> Result<String> {
        self.line_after(0, deadline, wanted).await
    }

    /// As `line`, but leaves out the first `skipped` kept lines.
    pub async fn line_after(
        &self,
        skipped: usize,
        deadline: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let mut progress = self.progress.clone();
        let found = async {
            loop {
                let seen = *progress.borrow_and_update();
                if let Some(line) = self.lines().into_iter().skip(skipped).find(|line| wanted(line))
                {
                    return Ok(line);
                }
                if seen.closed || progress.changed().await.is_err() {
                    bail!("the output ended without the awaited line");
                }
            }
        };
        match tokio::time::timeout(deadline, found).await {
            Ok(found) => found,
            Err(_) => bail!("the awaited line did not come within {} s", deadline.as_secs()),
        }
    }

    /// Waits until `count` lines have come. It is an error if the deadline or the end of the output comes earlier.
    pub async fn wait_for_count(&self, count: u64, deadline: Duration) -> Result<()> {
        let mut progress = self.progress.clone();
        let reached = progress.wait_for(|progress| progress.lines >= count || progress.closed);
        match tokio::time::timeout(deadline, reached).await {
            Ok(Ok(progress)) if progress.lines >= count => Ok(()),
            Ok(_) => bail!("the output ended after {} lines", self.count()),
            Err(_) => bail!("{} lines within {} s", self.count(), deadline.as_secs()),
        }
    }
}
