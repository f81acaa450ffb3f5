//! Which files a name stands for: itself, or what is in the folder, in the order of the names. What is left out is said.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use warren_producer::split::Form;

use super::format::{Format, Reading};

/// How many of the files that are left out are named.
const NAMED: usize = 5;
/// So many bytes tell text from everything else.
const LOOK_BYTES: u64 = 8 * 1024;
/// Deeper folders are a mistake.
const MAX_DEPTH: usize = 64;

/// One file to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Input {
    /// `-` is stdin.
    pub path: PathBuf,
    /// Its place below the folder that was named, with `/` between the parts: the id, if the file is one document.
    pub relative: String,
    pub reading: Reading,
}

/// All files of a command.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub inputs: Vec<Input>,
    hidden: Vec<PathBuf>,
    binary: Vec<PathBuf>,
    other: Vec<PathBuf>,
}

impl Files {
    /// Finds them all, so that a wrong name is told before anything is published.
    pub(super) fn find(names: &[PathBuf], format: Option<Format>) -> anyhow::Result<Self> {
        let forced = format.map(Reading::from);
        let mut files = Self::default();
        for name in names {
            if is_stdin(name) {
                files.add(name, "stdin".to_owned(), forced.unwrap_or(Reading::Split(Form::Sniff)));
                continue;
            }
            let metadata = std::fs::metadata(name).with_context(|| format!("cannot read {}", name.display()))?;
            if metadata.is_dir() {
                files.find_in(name, "", forced, MAX_DEPTH)?;
            } else {
                let own = name.file_name().map_or_else(|| name.to_string_lossy(), |own| own.to_string_lossy());
                let reading = forced.or_else(|| Reading::of_file(name)).unwrap_or(Reading::Split(Form::Sniff));
                files.add(name, own.into_owned(), reading);
            }
        }
        let skipped = files.skipped().map(|skipped| format!(" ({skipped})")).unwrap_or_default();
        anyhow::ensure!(
            !files.inputs.is_empty(),
            "there are no documents in there{skipped}: files named *.json, *.jsonl, *.ndjson, *.csv, *.tsv, *.txt, *.md and *.html \
             are read, also with .gz or .zst; --format reads others"
        );
        Ok(files)
    }

    fn add(&mut self, path: &Path, relative: String, reading: Reading) {
        self.inputs.push(Input { path: path.to_owned(), relative, reading });
    }

    fn find_in(&mut self, folder: &Path, prefix: &str, forced: Option<Reading>, depth: usize) -> anyhow::Result<()> {
        anyhow::ensure!(depth > 0, "{} is deeper than {MAX_DEPTH} folders", folder.display());
        let mut entries = std::fs::read_dir(folder)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("cannot read the folder {}", folder.display()))?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let relative = format!("{prefix}{name}");
            let kind = entry.file_type().with_context(|| path.display().to_string())?;
            if name.starts_with('.') {
                self.hidden.push(path);
            } else if kind.is_dir() {
                self.find_in(&path, &format!("{relative}/"), forced, depth - 1)?;
            } else if !std::fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
                // A link to a folder may lead in a circle; a pipe has no end.
                self.other.push(path);
            } else if let Some(reading) = forced.or_else(|| Reading::of_file(&path)) {
                if matches!(reading, Reading::Page(_)) && !is_packed(&path) && is_binary(&path)? {
                    self.binary.push(path);
                } else {
                    self.add(&path, relative, reading);
                }
            } else {
                self.other.push(path);
            }
        }
        Ok(())
    }

    /// What was left out, in words.
    pub(super) fn skipped(&self) -> Option<String> {
        let parts = [(&self.hidden, "hidden"), (&self.binary, "no text"), (&self.other, "of another kind")];
        let words: Vec<String> =
            parts.iter().filter(|(paths, _)| !paths.is_empty()).map(|(paths, what)| in_words(paths, what)).collect();
        (!words.is_empty()).then(|| format!("skipped: {}", words.join("; ")))
    }
}

fn in_words(paths: &[PathBuf], what: &str) -> String {
    let named: Vec<_> = paths.iter().take(NAMED).map(|path| path.display().to_string()).collect();
    let more = if paths.len() > NAMED { ", …" } else { "" };
    format!("{} {what} ({}{more})", paths.len(), named.join(", "))
}

/// Whether the name means standard input.
pub(super) fn is_stdin(name: &Path) -> bool {
    name.as_os_str() == "-"
}

fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz" || extension == "zst")
}

/// Text has no NUL characters, but for UTF-16, which says so with its first two bytes.
fn is_binary(path: &Path) -> anyhow::Result<bool> {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LOOK_BYTES).read_to_end(&mut start));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(start.contains(&0) && !start.starts_with(&[0xff, 0xfe]) && !start.starts_with(&[0xfe, 0xff]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &Files) -> Vec<&str> {
        files.inputs.iter().map(|input| input.relative.as_str()).collect()
    }

    #[test]
    fn folders_give_their_files_in_order_and_say_what_they_leave_out() {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in [
            ("b/notes.md", &b"# Title"[..]),
            ("b/a.txt", b"text"),
            ("b/image.txt", b"\x89PNG\0\0"),
            ("b/utf16.txt", b"\xff\xfea\0"),
            ("a.json", b"{}"),
            (".hidden/x.md", b"x"),
            (".secret.txt", b"x"),
            ("program.bin", b"x"),
        ] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        std::os::unix::fs::symlink(folder.path(), folder.path().join("circle")).unwrap();
        let files = Files::find(&[folder.path().to_owned()], None).unwrap();
        assert_eq!(found(&files), ["a.json", "b/a.txt", "b/notes.md", "b/utf16.txt"]);
        let skipped = files.skipped().unwrap();
        for word in ["2 hidden", "1 no text", "2 of another kind", "program.bin", "circle"] {
            assert!(skipped.contains(word), "{skipped}");
        }
        let texts = Files::find(&[folder.path().join("program.bin"), folder.path().join("b")], Some(Format::Text)).unwrap();
        assert_eq!(found(&texts), ["program.bin", "a.txt", "notes.md", "utf16.txt"]);
    }

    #[test]
    fn without_files_it_says_what_is_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.png"), "x").unwrap();
        let error = Files::find(&[folder.path().to_owned()], None).unwrap_err().to_string();
        assert!(error.contains("*.csv") && error.contains("a.png"), "{error}");
        assert!(Files::find(&[folder.path().join("none")], None).is_err());
    }
}
