//! Where the configuration file is.

use std::path::{Path, PathBuf};

/// The file's name in each of the directories that are searched.
const FILE_NAME: &str = "litefs.yml";

/// The first existing of `./litefs.yml`, `$HOME/litefs.yml` and `/etc/litefs.yml`, as LiteFS searches.
pub(crate) fn find(home: Option<&Path>) -> Option<PathBuf> {
    candidates(home).into_iter().find(|path| path.exists())
}

/// All places that are searched, in order.
pub(crate) fn candidates(home: Option<&Path>) -> Vec<PathBuf> {
    let directories = [Some(Path::new("")), home, Some(Path::new("/etc"))];
    directories
        .into_iter()
        .flatten()
        .map(|directory| directory.join(FILE_NAME))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_the_working_directory_first_and_etc_last() {
        let paths = |home| {
            candidates(home)
                .iter()
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            paths(Some(Path::new("/home/u"))),
            ["litefs.yml", "/home/u/litefs.yml", "/etc/litefs.yml"]
        );
        assert_eq!(paths(None), ["litefs.yml", "/etc/litefs.yml"]);
    }
}
