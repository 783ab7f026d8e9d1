//! Files out of containers and into them.

use super::*;
use expect_test::expect;
use std::io::Read as _;
use tar::{Archive, Builder, Header};

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o640);
        let added = builder.append_data(&mut header, name, *content);
        added.expect("memory takes it");
    }
    builder.into_inner().expect("memory takes it")
}

#[tokio::test]
async fn files_go_in_and_come_out_again() {
    let Some(pair) = Pair::start(&[("web", "run", false)]).await else {
        return;
    };
    let much: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    for (number, way) in pair.ways().into_iter().enumerate() {
        let (small, large) = (format!("in{number}/small"), format!("in{number}/large"));
        let packed = archive(&[(&small, b"a word"), (&large, &much)]);
        let request = Request::put(path("archive?path=/"));
        let put = send(way, request, Full::<Bytes>::from(packed)).await;
        assert_eq!(put.expect("it answers").status(), StatusCode::OK);

        let stat = value(way, &path(&format!("stat?path=/in{number}/large"))).await;
        assert_eq!(
            (&stat["name"], &stat["size"]),
            (&"large".into(), &much.len().into())
        );

        let out = read(way, &path(&format!("archive?path=/in{number}"))).await;
        let packed = out.bytes(Kind::Stdout);
        let mut read = Archive::new(&packed[..]);
        let mut found = Vec::new();
        for entry in read.entries().expect("it is an archive") {
            let mut entry = entry.expect("it is whole");
            let name = entry.path().expect("it has a name").display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("it is whole");
            found.push((name, content.len()));
        }
        found.sort();
        let dir = format!("in{number}/");
        assert_eq!(found, [(dir, 0), (large, much.len()), (small, 6)]);
    }
}

#[tokio::test]
async fn what_cannot_be_copied_says_why() {
    let Some(pair) = Pair::start(&[("web", "run", false)]).await else {
        return;
    };
    for way in pair.ways() {
        let none = expect!["there is no /nowhere in container web"];
        refused(get(way, &path("stat?path=/nowhere")).await, 404, none).await;
        let none = get(way, &path("archive?path=/nowhere")).await;
        assert_eq!(none.status(), StatusCode::NOT_FOUND);
        let empty = get(way, &path("archive")).await;
        assert_eq!(empty.status(), StatusCode::BAD_REQUEST);
        let put = send(
            way,
            Request::put(path("archive?path=/nowhere")),
            Full::<Bytes>::from(archive(&[("a", b"b")])),
        );
        assert_eq!(
            put.await.expect("it answers").status(),
            StatusCode::NOT_FOUND
        );
    }
}
