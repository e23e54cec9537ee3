//! Steps between two chapters of a few lines.

use super::*;

fn chapter(number: u8, files: &[(&str, &str)]) -> Chapter {
    let files = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), Content::from(text.as_bytes().to_vec())))
        .collect();
    Chapter::new(format!("ch-{number}"), number, files)
}

#[test]
fn own_number_makes_no_difference_and_another_number_does() {
    let a = chapter(1, &[("Cargo.toml", "name = \"ch-1\"\n")]);
    let b = chapter(2, &[("Cargo.toml", "name = \"ch-2\"\n")]);
    assert_eq!(changes(&a, &b), []);
    let b = chapter(2, &[("Cargo.toml", "name = \"ch-1\"\n")]);
    assert_eq!(changes(&a, &b).len(), 1);
}

#[test]
fn lines_are_counted_by_file_and_in_all() {
    let a = chapter(1, &[("a.rs", "one\ntwo\n\nthree\n"), ("b.rs", "b\n"), ("same.rs", "s\n")]);
    let b = chapter(
        2,
        &[("a.rs", "one\n2\nthree\n\n\nfour\n"), ("c.rs", "c\n\nc\n"), ("same.rs", "s\n")],
    );
    let step = Step::between(&a, &b).unwrap();
    let seen: Vec<_> = step
        .changes
        .iter()
        .map(|change| (change.path.as_str(), change.kind, change.added, change.removed))
        .collect();
    let expected =
        [("a.rs", Kind::Changed, 2, 1), ("b.rs", Kind::Gone, 0, 1), ("c.rs", Kind::New, 2, 0)];
    assert_eq!(seen, expected);
    assert_eq!((step.lines, step.carried), (5, 3));
    assert_eq!((step.added(), step.removed()), (4, 2));
    assert_eq!(step.carry_over_per_mille(), 600);
}

#[test]
fn readme_lock_file_and_blank_lines_count_for_nothing() {
    let a = chapter(1, &[("README.md", "a\nb\n"), ("Cargo.lock", "x\n"), ("k8s/README.md", "k\n")]);
    let b = chapter(2, &[("README.md", "c\n")]);
    let step = Step::between(&a, &b).unwrap();
    assert_eq!(step.changes.len(), 3, "still listed for the diff itself");
    assert_eq!((step.lines, step.added(), step.removed()), (0, 0, 0));
    assert_eq!(step.carry_over_per_mille(), 1000);
}

#[test]
fn blank_lines_alone_are_a_change_without_lines() {
    let step = Step::between(&chapter(1, &[("a", "x\n")]), &chapter(2, &[("a", "\nx\n")])).unwrap();
    assert_eq!(step.changes[0].kind, Kind::Changed);
    assert_eq!((step.changes[0].added, step.changes[0].removed), (0, 0));
}

#[test]
fn binary_files_are_compared_by_their_bytes() {
    let a = chapter(1, &[("logo", "a\0ch-1"), ("same", "\0")]);
    let b = chapter(2, &[("logo", "a\0ch-2"), ("same", "\0")]);
    let step = Step::between(&a, &b).unwrap();
    assert_eq!(step.changes.len(), 1);
    assert!(step.changes[0].binary);
    assert_eq!((step.changes[0].added, step.lines), (0, 0));
}
