//! Temporary folders, gone with the value that stands for them.

use std::fs::Permissions;
use std::io::Result;
use std::os::unix::fs::PermissionsExt;
#[cfg(test)]
use std::path::Path;

use tempfile::Builder;
use tempfile::TempDir;

/// An empty folder for a program under test. In a container the program is another user, who may read it too.
pub fn folder() -> Result<TempDir> {
    Builder::new().prefix("lab-").permissions(Permissions::from_mode(0o755)).tempdir()
}

/// A folder for a test.
#[cfg(test)]
pub struct Scratch(TempDir);

#[cfg(test)]
impl Scratch {
    pub fn new() -> Self {
        Self(folder().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file below the folder, with the folders above it.
    pub fn write(&self, path: &str, text: &str) {
        let file = self.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_read_an_ordinary_folder_may_read_this_one() {
        let folder = Scratch::new();
        let ordinary = folder.path().join("ordinary");
        std::fs::create_dir(&ordinary).unwrap();
        let mode = |folder: &Path| folder.metadata().unwrap().permissions().mode();
        assert_eq!(mode(folder.path()), mode(&ordinary));
    }
}
