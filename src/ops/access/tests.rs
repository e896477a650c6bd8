use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use connector_api::Secret;

use super::*;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 4));
const PASSWORD: &str = "a long enough password";

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap()
}

fn operator(name: &str, roles: &[Role]) -> Operator {
    let hash: PasswordHash = serde_json::from_value(hash(PASSWORD).unwrap().into()).unwrap();
    Operator { name: name.to_owned(), roles: roles.to_vec(), password: Some(hash), token: None }
}

fn keeper(operators: &[Operator]) -> (Doorkeeper, Clock) {
    let clock = Clock::manual(start());
    (Doorkeeper::new(operators, Path::new("/"), "run", true, clock.clone()).unwrap(), clock)
}

fn later(clock: &Clock, by: TimeDelta) {
    clock.set(clock.now() + by);
}

#[tokio::test]
async fn a_session_names_its_operator_and_ends_when_nobody_uses_it() {
    let (keeper, clock) = keeper(&[operator("wang", &[Role::Operate])]);
    let begun = keeper.log_in("wang", PASSWORD, PEER).await.unwrap();
    let caller = keeper.by_session(&begun.token, false).unwrap();
    assert_eq!(caller.who("somebody else"), "wang");
    assert!(caller.may(Role::View) && caller.may(Role::Operate) && !caller.may(Role::Personal));
    assert_eq!(caller.proof.as_deref(), Some(begun.proof.as_str()));

    later(&clock, TimeDelta::minutes(29));
    assert!(keeper.by_session(&begun.token, false).is_some(), "use keeps it alive");
    later(&clock, TimeDelta::minutes(29));
    assert!(keeper.by_session(&begun.token, true).is_some(), "a page that nobody touches still sees");
    later(&clock, TimeDelta::minutes(2));
    assert!(keeper.by_session(&begun.token, true).is_none(), "but does not keep it alive");
}

#[tokio::test]
async fn a_session_ends_after_a_shift_and_when_its_operator_leaves() {
    let (keeper, clock) = keeper(&[operator("wang", &[])]);
    let begun = keeper.log_in("wang", PASSWORD, PEER).await.unwrap();
    for _ in 0..48 {
        assert!(keeper.by_session(&begun.token, false).is_some());
        later(&clock, TimeDelta::minutes(15));
    }
    assert!(keeper.by_session(&begun.token, false).is_none());

    let begun = keeper.log_in("wang", PASSWORD, PEER).await.unwrap();
    keeper.log_out(&begun.token);
    assert!(keeper.by_session(&begun.token, false).is_none());
}

#[tokio::test]
async fn guessing_becomes_slow_by_name_and_by_address_and_says_nothing_of_names() {
    let (keeper, clock) = keeper(&[operator("wang", &[])]);
    for _ in 0..5 {
        assert_eq!(keeper.log_in("wang", "wrong", PEER).await, Err(Refusal::Wrong));
    }
    assert_eq!(keeper.log_in("wang", PASSWORD, OTHER).await, Err(Refusal::Wait(2)), "the name, from anywhere");
    assert_eq!(keeper.log_in("zhao", PASSWORD, PEER).await, Err(Refusal::Wait(2)), "the address, for any name");
    assert_eq!(keeper.log_in("nobody", PASSWORD, OTHER).await, Err(Refusal::Wrong), "as for a name that exists");
    later(&clock, TimeDelta::seconds(2));
    assert_eq!(keeper.log_in("wang", "wrong", PEER).await, Err(Refusal::Wrong));
    assert_eq!(keeper.log_in("wang", PASSWORD, PEER).await, Err(Refusal::Wait(4)));
    later(&clock, TimeDelta::seconds(4));
    assert!(keeper.log_in("wang", PASSWORD, PEER).await.is_ok());
    assert_eq!(keeper.log_in("wang", "wrong", PEER).await, Err(Refusal::Wrong), "a success forgets the failures");
}

#[test]
fn waits_double_up_to_a_bound_and_failures_are_forgotten() {
    let (mut limiter, key) = (Limiter::default(), ["name wang".to_owned()]);
    for _ in 0..40 {
        limiter.failed(&key, start());
    }
    assert_eq!(limiter.wait(&key, start()), Some(300));
    assert_eq!(limiter.wait(&key, start() - TimeDelta::days(1)), Some(300), "a clock that went back");
    assert_eq!(limiter.wait(&key, start() + TimeDelta::seconds(300)), None);
    limiter.failed(&["peer".to_owned()], start() + TimeDelta::hours(2));
    limiter.failed(&key, start() + TimeDelta::hours(2));
    assert_eq!(limiter.wait(&key, start() + TimeDelta::hours(2)), None, "it was forgotten");
}

#[test]
fn tokens_let_programs_in_under_their_names() {
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::write(folder.path().join("token"), "a-token-of-a-monitor\n").unwrap();
    std::fs::write(folder.path().join("short"), "short\n").unwrap();
    let with = |file: &str| Operator {
        name: "monitor".to_owned(),
        roles: Vec::new(),
        password: None,
        token: Some(Secret::File(file.into())),
    };
    let taken = |file: &str| Doorkeeper::new(&[with(file)], folder.path(), "run", false, Clock::manual(start()));
    let keeper = taken("token").unwrap();
    assert_eq!(keeper.by_token("a-token-of-a-monitor").unwrap().who(""), "monitor");
    assert_eq!(keeper.by_token("a-token-of-a-moniton"), None);
    assert_eq!(keeper.by_token("run").unwrap().who("root"), "root", "hisync's own commands say who uses them");
    assert!(matches!(taken("short"), Err(Error::ShortToken { .. })));
    assert!(matches!(taken("absent"), Err(Error::Token { .. })));
}

#[test]
fn a_configuration_names_operators_once_and_with_a_real_hash() {
    let weak =
        |text: &str| Operator { password: Some(serde_json::from_value(text.into()).unwrap()), ..operator("li", &[]) };
    let bare = Operator { password: None, ..operator("zhao", &[]) };
    let costly = "$argon2id$v=19$m=4000000,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$aGFzaGhhc2hoYXNoaGFzaA";
    let cases = [
        (vec![operator("wang", &[])], vec![]),
        (vec![operator("wang", &[]), operator("wang", &[])], vec!["operators[1].name"]),
        (vec![operator(" ", &[])], vec!["operators[0].name"]),
        (vec![bare], vec!["operators[0].password"]),
        (vec![weak("password")], vec!["operators[0].password"]),
        (vec![weak("$2b$12$abcdefghijklmnopqrstuv")], vec!["operators[0].password"]),
        (vec![weak(costly)], vec!["operators[0].password"]),
    ];
    for (operators, expected) in cases {
        let found: Vec<String> = Operator::problems(&operators).into_iter().map(|(place, _)| place).collect();
        assert_eq!(found, expected);
    }
    assert!(PasswordHash::default().problem().is_none(), "the hash of nobody costs what the others cost");
    assert!(hash("short").is_err());
}
