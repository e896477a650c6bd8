use super::*;

struct Place(tempfile::TempDir);

impl Place {
    fn with(files: &[(&str, &str)]) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, text)| place.write(name, text));
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn stamp(&self, name: &str) -> Stamp {
        Stamp::of(&fs::metadata(self.path().join(name)).unwrap())
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    fn names(&self, dir: &str) -> Vec<String> {
        let mut names: Vec<String> =
            list(&self.path().join(dir)).unwrap().into_iter().map(|entry| entry.name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn settle(&self, name: &str, stamp: Stamp, text: &str) -> bool {
        let was = (stamp, &Seal::of(text.as_bytes()));
        settle(self.path(), OsStr::new(name), was, &self.path().join("done"), "tag").unwrap()
    }
}

#[test]
fn folders_and_links_are_not_listed() {
    let place = Place::with(&[("a.csv", "1"), ("done/b.csv", "2")]);
    std::os::unix::fs::symlink(place.path().join("a.csv"), place.path().join("c.csv")).unwrap();
    assert_eq!(place.names("."), ["a.csv"]);
}

#[test]
fn a_file_that_grew_or_went_is_not_read() {
    let place = Place::with(&[("a", "12345")]);
    let stamp = place.stamp("a");
    let path = place.path().join("a");
    assert!(matches!(read(&path, stamp, 5, 2).unwrap(), Content::Whole(bytes) if &*bytes == b"12345"));
    assert!(matches!(read(&path, stamp, 4, 2).unwrap(), Content::TooLarge(bytes) if &*bytes == b"12"));
    assert!(matches!(read(&path, stamp, 4, 9).unwrap(), Content::TooLarge(bytes) if &*bytes == b"1234"));
    place.write("a", "123456");
    assert!(matches!(read(&path, stamp, 9, 2).unwrap(), Content::Changed));
    fs::remove_file(&path).unwrap();
    assert!(matches!(read(&path, stamp, 9, 2).unwrap(), Content::Changed));
}

#[test]
fn nothing_is_overwritten_by_a_move() {
    let place = Place::with(&[("a.csv", "first")]);
    assert!(place.settle("a.csv", place.stamp("a.csv"), "first"));
    for text in ["second", "third"] {
        place.write("a.csv", text);
        assert!(place.settle("a.csv", place.stamp("a.csv"), text));
    }
    assert_eq!(place.names("done"), ["a.csv", "a.tag-2.csv", "a.tag.csv"]);
    assert_eq!(place.text("done/a.tag-2.csv"), "third");
    assert_eq!(place.names("."), [""; 0]);
}

#[test]
fn a_file_that_was_replaced_since_it_was_read_stays() {
    let place = Place::with(&[("a.csv", "first")]);
    let stamp = place.stamp("a.csv");
    place.write("a.csv", "another");
    assert!(!place.settle("a.csv", stamp, "first"));
    // Of the same length, and at the same time as far as the file system can tell.
    assert!(!place.settle("a.csv", place.stamp("a.csv"), "between"));
    assert_eq!(place.names("."), ["a.csv"]);
    assert_eq!(place.text("a.csv"), "another");
    assert!(!place.settle("gone.csv", stamp, "first"));
}

#[test]
fn what_an_interrupted_move_left_is_a_file_again() {
    let place = Place::with(&[(".hisync-moving-a.csv", "moved"), (".hisync-moving-b.csv", "moved"), ("b.csv", "new")]);
    assert_eq!(place.names("."), ["a.csv", "b.again.csv", "b.csv"]);
    assert_eq!(place.text("a.csv"), "moved");
    assert_eq!(place.text("b.csv"), "new");
}

#[test]
fn a_copy_is_complete_before_its_origin_goes() {
    let place = Place::with(&[("a", "content")]);
    let other = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
    let was = (place.stamp("a"), &Seal::of(b"content"));
    assert!(settle(place.path(), OsStr::new("a"), was, &other.path().join("done"), "tag").unwrap());
    assert_eq!(fs::read_to_string(other.path().join("done/a")).unwrap(), "content");
    assert_eq!(place.names("."), [""; 0]);
    place.write("b", "copied");
    copy_over(&place.path().join("b"), &other.path().join("done/b")).unwrap();
    assert_eq!(fs::read_to_string(other.path().join("done/b")).unwrap(), "copied");
    assert_eq!(fs::read_dir(other.path().join("done")).unwrap().count(), 2);
    assert_eq!(place.names("."), [""; 0]);
}

#[test]
fn a_file_beside_another_is_moved_only_as_it_was_read() {
    let place = Place::with(&[("a.pdf", "first")]);
    let done = place.path().join("done");
    let (bytes, sealed) = read_now(&place.path().join("a.pdf"), 9).unwrap().unwrap();
    assert_eq!((&*bytes, sealed.is_replaced().unwrap()), (&b"first"[..], false));
    place.write("a.pdf", "another");
    assert!(sealed.is_replaced().unwrap() && !sealed.settle(&done, "tag").unwrap());
    assert_eq!((place.text("a.pdf"), place.names("done")), ("another".to_owned(), Vec::new()));
    fs::remove_file(place.path().join("a.pdf")).unwrap();
    assert!(!sealed.is_replaced().unwrap() && sealed.settle(&done, "tag").unwrap(), "gone, nothing stays unread");
}

#[test]
fn a_marker_that_is_gone_needs_no_move() {
    let place = Place::with(&[("a.ok", "")]);
    for _ in 0..2 {
        settle_marker(place.path(), OsStr::new("a.ok"), &place.path().join("done"), "marker").unwrap();
    }
    assert_eq!(place.names("done"), ["a.ok"]);
}

#[test]
fn names_need_not_be_utf8() {
    let place = Place::with(&[]);
    let name = OsStr::from_bytes(b"\xb1\xa8\xb8\xe6.csv");
    let moving = OsString::from_iter([OsStr::new(MOVING), name]);
    fs::write(place.path().join(moving), "text").unwrap();
    let entries = list(place.path()).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].name, name);
    let done = place.path().join("done");
    assert!(settle(place.path(), name, (entries[0].stamp, &Seal::of(b"text")), &done, "tag").unwrap());
    assert_eq!(list(&done).unwrap()[0].name, name);
}
