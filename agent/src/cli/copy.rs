//! `holdfast task cp`: files out of a container and into it, with the rules of `docker cp`.

use super::{
    args::CpArgs,
    client::{Client, encode},
    failure::Failure,
    logs::unwritten,
};
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use serde_json::Value;
use std::{
    ffi::OsStr,
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process,
    sync::mpsc as blocking,
};
use tar::{Archive, Builder, EntryType, Header};
use tokio::{sync::mpsc, task::spawn_blocking};

/// Parts of an archive that wait for whoever packs it or unpacks it.
const PARTS_WAITING_MAX: usize = 8;
const PART_BYTES: usize = 64 * 1_024;
/// Go's bits for what is at a path.
const GO_DIRECTORY: u64 = 1 << 31;
const GO_SYMLINK: u64 = 1 << 27;

/// One end of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Container {
        task: String,
        container: Option<String>,
        path: String,
    },
    Here(PathBuf),
    /// A tar archive on standard input or output.
    Archive,
}

pub(super) async fn run(client: &Client, args: CpArgs) -> Result<(), Failure> {
    match (end(&args.source), end(&args.target)) {
        (from @ End::Container { .. }, End::Archive) => {
            let part = |bytes: Bytes| io::stdout().write_all(&bytes).map_err(unwritten);
            read(client, &from, part).await
        }
        (from @ End::Container { .. }, End::Here(to)) => out_of(client, &from, &to).await,
        (End::Archive, to @ End::Container { .. }) => {
            write(client, &to, None, |sink| {
                io::copy(&mut io::stdin(), sink).map(drop)
            })
            .await
        }
        (End::Here(from), to @ End::Container { .. }) => into(client, &from, &to).await,
        (End::Container { .. }, End::Container { .. }) => Err(Failure::Usage(
            "one end must be here: copy out of the one container, then into the other".to_owned(),
        )),
        (End::Here(_) | End::Archive, End::Here(_) | End::Archive) => Err(Failure::Usage(
            "one end must be in a container: TASK:PATH or TASK:CONTAINER:PATH".to_owned(),
        )),
    }
}

/// A path that has a colon is given as ./a:b.
pub(super) fn end(text: &str) -> End {
    if text == "-" {
        return End::Archive;
    }
    match text.split_once(':') {
        Some((task, rest)) if !task.is_empty() && !task.contains('/') && !task.starts_with('.') => {
            let (container, path) = match rest.split_once(':') {
                Some((name, path)) if !name.contains('/') => (Some(name.to_owned()), path),
                _ => (None, rest),
            };
            End::Container {
                task: task.to_owned(),
                container,
                path: if path.is_empty() { "/" } else { path }.to_owned(),
            }
        }
        _ => End::Here(text.into()),
    }
}

fn url(end: &End, what: &str, path: &str) -> String {
    let End::Container {
        task, container, ..
    } = end
    else {
        unreachable!("only what is in a container has a URL")
    };
    let mut url = format!("/v1/tasks/{}/{what}?path={}", encode(task), encode(path));
    if let Some(container) = container {
        url.push_str(&format!("&container={}", encode(container)));
    }
    url
}

fn path_of(end: &End) -> &str {
    match end {
        End::Container { path, .. } => path,
        End::Here(_) | End::Archive => unreachable!("only what is in a container is asked for"),
    }
}

async fn read(
    client: &Client,
    from: &End,
    mut part: impl FnMut(Bytes) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut frames = client.frames(&url(from, "archive", path_of(from))).await?;
    while let Some(pieces) = frames.next().await? {
        for piece in pieces {
            part(piece.bytes)?;
        }
    }
    Ok(())
}

/// Nothing is put in place before all of it has come.
async fn out_of(client: &Client, from: &End, to: &Path) -> Result<(), Failure> {
    let place = Landing::find(to)?;
    let (parts, come) = blocking::sync_channel::<Bytes>(PARTS_WAITING_MAX);
    let staging = Staging::new(&place.beside)?;
    let root = staging.0.clone();
    // What is in it, and not it: then the archive has no name of its own.
    let is_content = path_of(from).ends_with("/.");
    let unpacking = spawn_blocking(move || unpack(Parts::new(come), &root, is_content));
    let read = read(client, from, |bytes| {
        // It says itself why it takes no more.
        parts.send(bytes).ok();
        Ok(())
    });
    let read = read.await;
    drop(parts);
    let unpacked = unpacking
        .await
        .map_err(|err| Failure::Refused(err.to_string()))?;
    read?;
    let source = unpacked.map_err(|err| cannot("unpack what came", &err))?;
    let target = match source.file_name().filter(|_| !is_content) {
        Some(name) => place.target(name),
        None => place.to.clone(),
    };
    let moved = merge(&source, &target);
    moved.map_err(|err| cannot(&format!("write {}", target.display()), &err))
}

fn cannot(what: &str, err: &io::Error) -> Failure {
    Failure::Refused(format!("cannot {what}: {err}"))
}

/// Where something goes here.
struct Landing {
    to: PathBuf,
    is_directory: bool,
    /// On the same file system.
    beside: PathBuf,
}

impl Landing {
    fn find(to: &Path) -> Result<Self, Failure> {
        let is_directory = to.is_dir();
        let parent = match to.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => Path::new("/"),
        };
        let beside = if is_directory { to } else { parent };
        let wants_directory = to.as_os_str().as_encoded_bytes().ends_with(b"/");
        if !beside.is_dir() || (wants_directory && !is_directory) {
            return Err(Failure::Refused(format!(
                "there is no directory {}",
                if wants_directory { to } else { beside }.display()
            )));
        }
        // Links that the person named are followed, and no others.
        let named = match is_directory {
            true => fs::canonicalize(to),
            false => Ok(to.to_owned()),
        };
        let named = named.map_err(|err| cannot(&format!("write to {}", to.display()), &err))?;
        Ok(Self {
            to: named,
            is_directory,
            beside: beside.to_owned(),
        })
    }

    /// Where what is called so goes.
    fn target(&self, name: &OsStr) -> PathBuf {
        match self.is_directory {
            true => self.to.join(name),
            false => self.to.clone(),
        }
    }
}

/// A directory of our own, gone with this value.
struct Staging(PathBuf);

impl Staging {
    fn new(beside: &Path) -> Result<Self, Failure> {
        let path = beside.join(format!(".holdfast-cp-{}", process::id()));
        let made = fs::create_dir(&path);
        made.map_err(|err| cannot(&format!("write to {}", beside.display()), &err))?;
        Ok(Self(path))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Where what the archive is of lies then: all of it has one name, or else `is_content`. A
/// container says what is in it, so nothing of it may land elsewhere, nor be somebody else's: that
/// the library sees to.
fn unpack(archive: impl Read, root: &Path, is_content: bool) -> io::Result<PathBuf> {
    let mut archive = Archive::new(archive);
    archive.set_preserve_ownerships(false);
    archive.unpack(root)?;
    if is_content {
        return Ok(root.to_owned());
    }
    let mut found = fs::read_dir(root)?;
    match (found.next().transpose()?, found.next()) {
        (Some(top), None) => Ok(top.path()),
        _ => Err(io::Error::other(
            "the archive is not that of one file or directory",
        )),
    }
}

/// Puts what is at `from` to `to`, into what is there. What is a link there is replaced, as `docker
/// cp` does, and never followed: an earlier copy may have brought it, and it leads anywhere.
fn merge(from: &Path, to: &Path) -> io::Result<()> {
    let kind = |path: &Path| fs::symlink_metadata(path).map(|found| found.file_type());
    let is_directory = |path: &Path| kind(path).is_ok_and(|kind| kind.is_dir());
    if kind(to).is_ok_and(|kind| kind.is_symlink()) {
        fs::remove_file(to)?;
    }
    if !(is_directory(from) && is_directory(to)) {
        return fs::rename(from, to);
    }
    for child in fs::read_dir(from)? {
        let child = child?;
        merge(&child.path(), &to.join(child.file_name()))?;
    }
    Ok(())
}

/// What comes in parts, for whoever reads.
struct Parts {
    come: blocking::Receiver<Bytes>,
    part: Bytes,
}

impl Parts {
    const fn new(come: blocking::Receiver<Bytes>) -> Self {
        Self {
            come,
            part: Bytes::new(),
        }
    }
}

impl Read for Parts {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.part.is_empty() {
            match self.come.recv() {
                Ok(part) => self.part = part,
                Err(_) => return Ok(0),
            }
        }
        let len = into.len().min(self.part.len());
        into[..len].copy_from_slice(&self.part.split_to(len));
        Ok(len)
    }
}

async fn into(client: &Client, from: &Path, to: &End) -> Result<(), Failure> {
    let source = fs::symlink_metadata(from);
    let source = source.map_err(|err| cannot(&format!("read {}", from.display()), &err))?;
    let is_content = from.as_os_str().as_encoded_bytes().ends_with(b"/.");
    let wanted = path_of(to);
    let there = there(client, to, wanted).await?;
    let (directory, name) = match there {
        Some(true) if is_content => (wanted.to_owned(), PathBuf::new()),
        Some(true) => {
            let whole = fs::canonicalize(from).unwrap_or_else(|_| from.to_owned());
            let name = whole.file_name().unwrap_or_default();
            (wanted.to_owned(), name.into())
        }
        Some(false) if source.is_dir() => {
            return Err(Failure::Refused(format!(
                "{wanted} is a file in the container, and {} is a directory",
                from.display()
            )));
        }
        None if wanted.ends_with('/') && !source.is_dir() => {
            return Err(Failure::Refused(format!(
                "there is no directory {wanted} in the container"
            )));
        }
        Some(false) | None => {
            let (parent, name) = split(wanted);
            (parent, name.into())
        }
    };
    let from = from.to_owned();
    write(client, to, Some(&directory), move |sink| {
        let mut builder = Builder::new(sink);
        pack(&mut builder, &from, &name)?;
        builder.finish()
    })
    .await
}

/// Whether there is a directory, or something else, or nothing.
async fn there(client: &Client, end: &End, path: &str) -> Result<Option<bool>, Failure> {
    let mut path = path.to_owned();
    for _ in 0..2 {
        let Some(stat) = client.found(&url(end, "stat", &path)).await? else {
            return Ok(None);
        };
        let mode = stat["mode"].as_u64().unwrap_or(0);
        match stat["linkTarget"].as_str() {
            // Docker has followed it to its end.
            Some(target) if mode & GO_SYMLINK != 0 && !target.is_empty() => {
                target.clone_into(&mut path)
            }
            _ => return Ok(Some(mode & GO_DIRECTORY != 0)),
        }
    }
    Ok(Some(false))
}

fn split(path: &str) -> (String, String) {
    let path = path.trim_end_matches('/');
    match path.rsplit_once('/') {
        Some(("", name)) => ("/".to_owned(), name.to_owned()),
        Some((parent, name)) => (parent.to_owned(), name.to_owned()),
        None => ("/".to_owned(), path.to_owned()),
    }
}

/// Sends an archive while it is made. Why it could not be made is said before what that led to.
async fn write<F>(client: &Client, to: &End, path: Option<&str>, make: F) -> Result<(), Failure>
where
    F: FnOnce(&mut Sink) -> io::Result<()> + Send + 'static,
{
    let (parts, come) = mpsc::channel::<Result<Bytes, io::Error>>(PARTS_WAITING_MAX);
    let making = spawn_blocking(move || {
        let mut sink = Sink {
            parts,
            part: Vec::with_capacity(PART_BYTES),
        };
        let made = make(&mut sink).and_then(|()| sink.flush());
        if let Err(err) = &made {
            // So that what is half made is not taken for whole.
            sink.parts
                .blocking_send(Err(io::Error::other(err.to_string())))
                .ok();
        }
        made
    });
    let body = stream::unfold(come, async |mut come| Some((come.recv().await?, come)));
    let path = path.unwrap_or_else(|| path_of(to));
    let sent: Result<Value, Failure> = client
        .put(&url(to, "archive", path), Body::from_stream(body))
        .await;
    let made = making
        .await
        .map_err(|err| Failure::Refused(err.to_string()))?;
    match made {
        Err(err) if err.kind() != io::ErrorKind::BrokenPipe => Err(cannot("read it", &err)),
        Ok(()) | Err(_) => sent.map(drop),
    }
}

/// What is written goes off in parts.
struct Sink {
    parts: mpsc::Sender<Result<Bytes, io::Error>>,
    part: Vec<u8>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.extend_from_slice(bytes);
        if self.part.len() >= PART_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.part);
        if part.is_empty() {
            return Ok(());
        }
        let sent = self.parts.blocking_send(Ok(part.into()));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

/// Under `name`, or what is in it under no name. In the container all of it is root's.
fn pack(builder: &mut Builder<&mut Sink>, from: &Path, name: &Path) -> io::Result<()> {
    let found = match name.as_os_str().is_empty() {
        true => fs::metadata(from)?,
        false => fs::symlink_metadata(from)?,
    };
    let mut header = Header::new_gnu();
    header.set_metadata(&found);
    header.set_uid(0);
    header.set_gid(0);
    if found.is_dir() {
        if !name.as_os_str().is_empty() {
            builder.append_data(&mut header, name, io::empty())?;
        }
        for child in fs::read_dir(from)? {
            let child = child?;
            pack(builder, &child.path(), &name.join(child.file_name()))?;
        }
        return Ok(());
    }
    if found.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        return builder.append_link(&mut header, name, fs::read_link(from)?);
    }
    if !found.is_file() {
        eprintln!(
            "left out {}: it is no file, directory or link",
            from.display()
        );
        return Ok(());
    }
    // Of a file that grows meanwhile, what there was; of one that shrinks, an error.
    let file = fs::File::open(from)?.take(found.len());
    builder.append_data(&mut header, name, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;
    use std::os::unix::fs::symlink;

    /// What a container put there as a link, and calls a directory the next time, leads nowhere.
    #[test]
    fn links_of_an_earlier_copy_are_replaced_and_not_followed() {
        let dir = TestDir::new("copied-links");
        let root: &Path = &dir;
        let (elsewhere, to) = (root.join("etc"), root.join("out"));
        for made in [&elsewhere, &to, &root.join("first"), &root.join("second/x")] {
            fs::create_dir_all(made).unwrap();
        }
        symlink(&elsewhere, root.join("first/x")).unwrap();
        fs::write(root.join("second/x/evil"), "evil").unwrap();
        merge(&root.join("first"), &to).unwrap();
        assert!(to.join("x").is_symlink());
        merge(&root.join("second"), &to).unwrap();
        assert!(!elsewhere.join("evil").exists());
        assert_eq!(fs::read_to_string(to.join("x/evil")).unwrap(), "evil");
    }

    /// A link that the person named is a directory for all that.
    #[test]
    fn a_link_that_was_named_is_followed() {
        let dir = TestDir::new("named-link");
        let root: &Path = &dir;
        fs::create_dir_all(root.join("real")).unwrap();
        symlink(root.join("real"), root.join("link")).unwrap();
        let place = Landing::find(&root.join("link")).map_err(|err| err.to_string());
        let place = place.unwrap();
        assert_eq!(place.to, fs::canonicalize(root.join("real")).unwrap());
        assert!(place.is_directory);
    }
}
