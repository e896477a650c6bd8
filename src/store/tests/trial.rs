//! What is applied, and what a candidate's run keeps.

use super::*;
use crate::store::trial::{Cursors, ShadowRow, ShadowStep, Tried};

fn part(data: &str, name: &str) -> Incoming {
    record(&format!("{name} {data}"), vec![part_of(mapped("1", data), name)])
}

fn again(archive: i64, incoming: Incoming) -> Incoming {
    Incoming { archived: Some(archive), mapping_version: "demo@2".to_owned(), ..incoming }
}

#[tokio::test]
async fn parts_that_are_applied_change_together_and_an_interrupted_run_goes_on() {
    let world = World::new();
    world.give_to("lis/header", vec![part("a", "header")]).await;
    world.give_to("lis/results", vec![part("r", "results")]).await;
    assert_eq!(world.deliver().await.len(), 1);
    let run = world.store.apply_begin("all of it", "wang").await.unwrap();
    let batches = vec![
        batch("lis/header", vec![again(1, part("b", "header"))]),
        batch("lis/results", vec![again(2, part("s", "results"))]),
    ];
    let quiet = vec![(1, key("1"))];
    let done = world.store.apply(run.id, batches.clone(), quiet.clone()).await.unwrap();
    assert_eq!((done.records, done.revisions, done.held), (2, 1, 0), "one version, not one for each part");
    let events = world.deliver().await;
    assert_eq!(events.len(), 1);
    let data = events[0].data.to_string();
    assert!(data.contains('b') && data.contains('s'), "{data}");
    // The same thing again does nothing, in the same run.
    let world = world.reopen();
    let resumed = world.store.apply_begin("all of it", "wang").await.unwrap();
    assert_eq!((resumed.id, resumed.resumed, resumed.revisions), (run.id, true, 1));
    assert_eq!(world.store.apply(run.id, batches, quiet).await.unwrap().revisions, 1);
    world.store.apply_end(run.id).await.unwrap();
    assert_ne!(world.store.apply_begin("all of it", "wang").await.unwrap().id, run.id, "what has ended is not resumed");
    let audit = world.store.read(|reader| reader.audit_list(None, 10)).await.unwrap();
    let acts: Vec<&str> = audit.iter().map(|line| line.entry.act.as_str()).collect();
    assert_eq!(acts, ["replay-apply", "replay-applied", "replay-resume", "replay-apply"]);
}

fn tried(version: &str) -> Tried {
    Tried::from([("lis/reports".to_owned(), ("demo@1".to_owned(), version.to_owned()))])
}

fn row(subject: &str, archive_id: i64, verdict: &str) -> ShadowRow {
    ShadowRow {
        subject: subject.to_owned(),
        entity: "exam_report".to_owned(),
        archive_id,
        verdict: verdict.to_owned(),
        held: false,
        differences: (verdict == "changed").then(|| "[]".to_owned()),
    }
}

async fn kept(world: &World, run: i64) -> Vec<(i64, String)> {
    let rows = world.store.read(move |reader| reader.shadow_rows(run, 0, 100)).await.unwrap();
    rows.into_iter().map(|(_, row)| (row.archive_id, row.verdict)).collect()
}

#[tokio::test]
async fn a_run_keeps_the_newest_finding_of_each_subject_and_ends_for_good() {
    let world = World::new();
    world.give(vec![says("1", "a")]).await;
    let run = world.store.shadow_begin(tried("demo@2")).await.unwrap().unwrap();
    assert_eq!((run.cursors.archive, run.behind), (1, 0), "what was there before is not tried");
    world.give(vec![says("1", "b"), says("2", "c")]).await;
    let work = world.store.read(move |reader| reader.shadow_work(run.cursors, 10)).await.unwrap();
    assert_eq!((work.records.as_slice(), work.more), (&[2, 3][..], false));
    let step = |looked: Vec<i64>, rows: Vec<ShadowRow>| ShadowStep {
        looked,
        rows,
        cursors: work.cursors,
        mapped: 1,
        ..ShadowStep::default()
    };
    let note = |step| world.store.shadow_note(run.id, step);
    note(step(vec![2, 3], vec![row("#1", 2, "changed"), row("#2", 3, "same")])).await.unwrap();
    note(step(vec![4], vec![row("#1", 4, "same")])).await.unwrap();
    // The record tells nothing of it any more.
    note(step(vec![3], vec![])).await.unwrap();
    assert_eq!(kept(&world, run.id).await, [(4, "same".to_owned())]);
    let found = world.store.read(Reader::shadow_run).await.unwrap().unwrap();
    assert_eq!((found.records, found.listed, found.behind), (3, 0, 0));

    // The same candidate goes on; another one is tried on the same records.
    assert_eq!(world.store.shadow_begin(tried("demo@2")).await.unwrap().unwrap().id, run.id);
    let mended = world.store.shadow_begin(tried("demo@3")).await.unwrap().unwrap();
    assert_eq!((mended.id == run.id, mended.cursors.archive), (false, 1));
    note(step(vec![5], vec![row("#5", 5, "same")])).await.unwrap();
    assert_eq!(kept(&world, run.id).await.len(), 1, "a run that has ended notes nothing");
    assert_eq!(world.store.shadow_sweep().await.unwrap(), 1);
    assert_eq!(world.store.shadow_sweep().await.unwrap(), 0);

    let promoted = world.store.promote("wang", "ticket").await.unwrap();
    assert_eq!((promoted[0].version.as_str(), promoted[0].former.as_str()), ("demo@3", "demo@1"));
    assert!(matches!(world.store.promote("wang", "twice").await, Err(Error::Refused(_))));
    assert!(world.store.shadow_begin(tried("demo@3")).await.unwrap().is_none(), "it is in force");
    assert_eq!(world.store.revert("wang", "back").await.unwrap().len(), 1);
    assert!(matches!(world.store.revert("wang", "twice").await, Err(Error::Refused(_))));
    assert_eq!(world.store.read(Reader::promoted).await.unwrap(), []);
    let begun = world.store.shadow_begin(tried("demo@4")).await.unwrap().unwrap();
    world.store.discard("wang", "no").await.unwrap();
    assert!(world.store.shadow_begin(tried("demo@4")).await.unwrap().is_none(), "it is not tried again");
    assert_eq!(world.store.shadow_begin(Tried::new()).await.unwrap(), None);
    assert!(world.store.shadow_begin(tried("demo@5")).await.unwrap().is_some_and(|run| run.id > begun.id));
    let none = Cursors::default();
    assert!(world.store.read(move |reader| reader.shadow_work(none, 1)).await.unwrap().more);
}
