//! `cargo lab sbom N`: what a chapter's program is made of, as a CycloneDX document that scanners read. A static
//! binary does not show its parts, so they are taken from where they are known: cargo's graph and the lock file.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::process::Stdio;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use serde_json::Value;
use serde_json::json;
use tokio::process::Command;

use crate::chapters;
use crate::services;
use crate::terminal;

/// Writes a chapter's bill of materials: each crate in its image, with version, licence and checksum
///
/// The form is CycloneDX 1.5, the place target/sbom/ch-N.cdx.json. Crates that only build it (build scripts, macros
/// and what they need) are in it with the scope "excluded". A scanner reads it:
///   grype sbom:target/sbom/ch-4.cdx.json
///
/// Example:
///   cargo lab sbom 4
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// The chapter
    chapter: u8,
}

pub async fn run(options: &Options) -> Result<ExitCode> {
    let chapter = chapters::name(chapters::pick(Some(options.chapter))?);
    let lock = chapters::root().join("Cargo.lock");
    let lock = std::fs::read_to_string(&lock)
        .with_context(|| format!("cannot read {}", lock.display()))?;
    let document = document(&chapter, &metadata().await?, &checksums(&lock))?;
    let parts = document["components"].as_array().map_or(0, Vec::len);
    let folder = services::target().join("sbom");
    let file = folder.join(format!("{chapter}.cdx.json"));
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&file, format!("{document:#}\n")))
        .with_context(|| format!("cannot write {}", file.display()))?;
    terminal::print(|out| writeln!(out, "{chapter}: {parts} crates, in {}", file.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Cargo's graph for the images, which are Linux whatever this machine is, and have every feature.
async fn metadata() -> Result<Value> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new("cargo")
        .args(["metadata", "--locked", "--all-features"])
        .args(["--format-version", "1"])
        .args(["--filter-platform", &platform])
        .current_dir(chapters::root())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo metadata failed; its reason stands above");
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata did not print JSON")
}

/// The checksum of each package in the lock file, by name and version.
fn checksums(lock: &str) -> BTreeMap<(&str, &str), &str> {
    let mut found = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let field = |name: &str| {
            package.lines().find_map(|line| {
                let value = line.strip_prefix(name)?.strip_prefix(" = \"")?;
                value.strip_suffix('"')
            })
        };
        if let (Some(name), Some(version), Some(checksum)) =
            (field("name"), field("version"), field("checksum"))
        {
            found.insert((name, version), checksum);
        }
    }
    found
}

fn document(
    chapter: &str,
    metadata: &Value,
    checksums: &BTreeMap<(&str, &str), &str>,
) -> Result<Value> {
    let graph = Graph::read(metadata);
    let root = graph
        .packages
        .iter()
        .find(|(_, package)| package["name"] == chapter && package["source"].is_null())
        .map(|(id, _)| *id)
        .with_context(|| format!("cargo knows no package {chapter}"))?;
    let linked = graph.reached(root, false);
    let all = graph.reached(root, true);
    let components: Vec<Value> = all
        .iter()
        .filter(|id| **id != root)
        .map(|id| {
            let package = graph.packages[id];
            let mut component = component(package, "library");
            component["scope"] = json!(if linked.contains(id) {
                "required"
            } else {
                "excluded"
            });
            let (name, version) = (text(package, "name"), text(package, "version"));
            if let Some(checksum) = checksums.get(&(name, version)) {
                component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
            }
            component
        })
        .collect();
    let dependencies: Vec<Value> = all
        .iter()
        .map(|id| {
            let needed: BTreeSet<String> = graph
                .needs(id, true)
                .map(|needed| purl(graph.packages[needed]))
                .collect();
            json!({ "ref": purl(graph.packages[id]), "dependsOn": needed })
        })
        .collect();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": component(graph.packages[root], "application") },
        "components": components,
        "dependencies": dependencies,
    }))
}

fn component(package: &Value, kind: &str) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
    });
    if let Some(license) = package["license"].as_str() {
        // Before there was a standard for it, `MIT/Apache-2.0` was the way to write "or".
        component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
    }
    component
}

fn purl(package: &Value) -> String {
    format!(
        "pkg:cargo/{}@{}",
        text(package, "name"),
        text(package, "version")
    )
}

fn text<'a>(package: &'a Value, field: &str) -> &'a str {
    package[field].as_str().unwrap_or_default()
}

/// Packages by cargo's id, and who needs whom.
struct Graph<'a> {
    packages: BTreeMap<&'a str, &'a Value>,
    nodes: BTreeMap<&'a str, &'a Value>,
}

impl<'a> Graph<'a> {
    fn read(metadata: &'a Value) -> Self {
        let by_id = |list: &'a Value| {
            list.as_array()
                .into_iter()
                .flatten()
                .filter_map(|item| Some((item["id"].as_str()?, item)))
                .collect()
        };
        Self {
            packages: by_id(&metadata["packages"]),
            nodes: by_id(&metadata["resolve"]["nodes"]),
        }
    }

    /// What package `id` needs, its tests apart; without `building`, only what becomes part of the program.
    fn needs(&self, id: &str, building: bool) -> impl Iterator<Item = &'a str> {
        let dependencies = self.nodes.get(id).and_then(|node| node["deps"].as_array());
        dependencies
            .into_iter()
            .flatten()
            // What a C library's source was built with stays behind.
            .filter(move |_| building || !self.is_source(id))
            .filter(move |dependency| {
                let needed = dependency["pkg"].as_str().unwrap_or_default();
                dependency["dep_kinds"].as_array().is_some_and(|kinds| {
                    kinds.iter().any(|kind| match kind["kind"].as_str() {
                        None => true,
                        Some("build") => building || self.is_source(needed),
                        Some(_) => false,
                    })
                })
            })
            .filter_map(|dependency| dependency["pkg"].as_str())
            .filter(|id| self.packages.contains_key(id))
            .filter(move |id| building || !is_macro(self.packages[id]))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// A C library's source, such as openssl-src: a build script compiles it, and the program holds it all the same.
    fn is_source(&self, id: &str) -> bool {
        let package = self.packages.get(id);
        package.is_some_and(|package| text(package, "name").ends_with("-src"))
    }

    fn reached(&self, root: &'a str, building: bool) -> BTreeSet<&'a str> {
        let mut reached = BTreeSet::new();
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            if reached.insert(id) {
                open.extend(self.needs(id, building));
            }
        }
        reached
    }
}

/// A procedural macro runs in the compiler and stays there.
fn is_macro(package: &Value) -> bool {
    package["targets"].as_array().is_some_and(|targets| {
        targets
            .iter()
            .any(|target| target["kind"][0] == "proc-macro")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"app\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"linked\"\nversion = \"2.0.0\"\nsource = \"registry\"\nchecksum = \"abc\"\n";

    fn metadata() -> Value {
        let package = |name: &str, kind: &str, source: Value| {
            json!({"id": name, "name": name, "version": "2.0.0", "license": "MIT/Apache-2.0",
                   "source": source, "targets": [{"kind": [kind]}]})
        };
        let needs = |name: &str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        json!({
            "packages": [
                package("app", "bin", Value::Null),
                package("linked", "lib", json!("registry")),
                package("macros", "proc-macro", json!("registry")),
                package("syntax", "lib", json!("registry")),
                package("builder", "lib", json!("registry")),
                package("tester", "lib", json!("registry")),
                package("library-src", "lib", json!("registry")),
            ],
            "resolve": {"nodes": [
                {"id": "app", "deps": [
                    needs("linked", Value::Null),
                    needs("macros", Value::Null),
                    needs("builder", json!("build")),
                    needs("tester", json!("dev")),
                ]},
                {"id": "macros", "deps": [needs("syntax", Value::Null)]},
                {"id": "linked", "deps": [needs("library-src", json!("build"))]},
                {"id": "library-src", "deps": [needs("builder", Value::Null)]},
            ]},
        })
    }

    fn scopes(document: &Value) -> BTreeMap<&str, &str> {
        let components = document["components"].as_array().unwrap();
        components
            .iter()
            .map(|component| (text(component, "name"), text(component, "scope")))
            .collect()
    }

    #[test]
    fn what_only_builds_is_excluded_and_what_only_tests_is_absent() {
        let document = document("app", &metadata(), &checksums(LOCK)).unwrap();
        let expected = [
            ("builder", "excluded"),
            ("library-src", "required"),
            ("linked", "required"),
            ("macros", "excluded"),
            ("syntax", "excluded"),
        ];
        assert_eq!(scopes(&document), BTreeMap::from(expected));
    }

    #[test]
    fn crate_is_named_with_its_licence_and_checksum() {
        let document = document("app", &metadata(), &checksums(LOCK)).unwrap();
        let components = document["components"].as_array().unwrap();
        let linked = components.iter().find(|c| c["name"] == "linked").unwrap();
        assert_eq!(linked["purl"], "pkg:cargo/linked@2.0.0");
        assert_eq!(linked["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(linked["hashes"][0]["content"], "abc");
        let app = &document["dependencies"][0];
        assert_eq!(app["ref"], "pkg:cargo/app@2.0.0");
        assert_eq!(app["dependsOn"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn package_that_is_not_there_is_an_error() {
        assert!(document("other", &metadata(), &BTreeMap::new()).is_err());
    }
}
