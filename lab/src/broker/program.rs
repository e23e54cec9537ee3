//! The program `lab-broker`: built at most once in a run of lab, with a line that says so if it takes a while.

use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use tokio::sync::OnceCell;

use crate::chapters;
use crate::process;

const NAME: &str = "lab-broker";

/// The built program; the first call of this run builds it.
pub async fn binary() -> Result<PathBuf> {
    static BINARY: OnceCell<PathBuf> = OnceCell::const_new();
    BINARY.get_or_try_init(build).await.cloned()
}

async fn build() -> Result<PathBuf> {
    // Debug builds come in one, see `process::build_package`: then it has been built before.
    if !cfg!(debug_assertions) && !chapters::target().join("release").join(NAME).exists() {
        eprintln!(
            "building {NAME}, which speaks Kafka for lab: once, about two minutes; it needs gcc, g++ and make"
        );
    }
    process::build_package(NAME).await.with_context(|| {
        format!("lab needs {NAME} to use Kafka; `cargo lab doctor` shows what it takes to build it")
    })
}
