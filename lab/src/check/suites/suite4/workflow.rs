//! The chapter's caller of the common workflow. What must stand in it is checked by `cargo lab drift`.

use anyhow::Context;
use anyhow::Result;

use crate::chapters;
use crate::check::runner::Check;
use crate::check::runner::HTTP;
use crate::check::subject::Subject;

pub const CHECKS: &[Check] = &[Check {
    name: "the chapter has its workflow",
    expected: ".github/workflows/ci-ch-N.yml, as for the chapters before",
    hint: "copy the caller of the chapter before and change the number; `cargo lab drift` checks what is in it",
    run: |subject| Box::pin(std::future::ready(caller(subject))),
    ..HTTP
}];

fn caller(subject: &Subject) -> Result<()> {
    let file = format!(".github/workflows/ci-{}.yml", chapters::name(subject.chapter()));
    std::fs::metadata(chapters::root().join(&file)).with_context(|| format!("no {file}"))?;
    Ok(())
}
