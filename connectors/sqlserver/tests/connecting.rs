//! From the address to the login: each failure has its class, and names its cure.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

mod support;

use std::time::Instant;

use connector_api::{Action, FaultClass, SourceError};
use connector_tds_testkit::{Browser, Encryption, FaultKind, Handshake, Options, Silence, TdsServer};
use sha2::{Digest as _, Sha256};
use support::{changes, refused, server, server_of};

const STREAM: &str =
    r#"fetch = { from = "bg", key = ["id"], watermark = { column = "id", type = "number", lag = 0 } }"#;

fn filled(options: Options) -> TdsServer {
    let server = server_of(options);
    server.execute("CREATE TABLE bg (id int); INSERT INTO bg VALUES (1);");
    server
}

fn with(encryption: Encryption) -> TdsServer {
    filled(Options { encryption, ..Options::default() })
}

async fn connects(server: &TdsServer, more: &str) {
    let probe = changes(server, more, STREAM).probe().await.unwrap_or_else(|error| panic!("{more}: {}", error.chain()));
    assert_eq!(probe.newest.as_deref(), Some("1"));
}

fn assert_stops(error: &SourceError, class: FaultClass, hint: &str) {
    assert_eq!((error.class, error.action), (class, Action::Stop), "{}", error.chain());
    assert!(error.hint.as_deref().is_some_and(|own| own.contains(hint)), "{:?}", error.hint);
}

fn assert_retries(error: &SourceError, class: FaultClass, hint: &str) {
    assert_eq!((error.class, error.action), (class, Action::Retry { after: None }), "{}", error.chain());
    assert!(error.hint.as_deref().is_some_and(|own| own.contains(hint)), "{:?}", error.hint);
}

#[tokio::test]
async fn every_pair_of_encryption_wishes_that_can_agree_does() {
    let (off, login, all) = ("encryption = \"off\"", "encryption = \"login-only\"", "encryption = \"required\"");
    for (server, wish) in [
        (Encryption::NotSupported, off),
        (Encryption::Off, off),
        (Encryption::Off, login),
        (Encryption::Off, all),
        (Encryption::Required, login),
        (Encryption::Required, all),
    ] {
        connects(&with(server), &format!("{wish}\ntrust = \"any\"")).await;
    }
}

#[tokio::test]
async fn encryption_is_never_given_up_silently() {
    for wish in ["login-only", "required"] {
        let server = with(Encryption::NotSupported);
        let more = format!("encryption = \"{wish}\"\ntrust = \"any\"");
        assert_stops(
            &refused(&mut *changes(&server, &more, STREAM)).await,
            FaultClass::Tls,
            "password travels readable",
        );
    }
    let server = with(Encryption::Required);
    let error = refused(&mut *changes(&server, "encryption = \"off\"", STREAM)).await;
    assert_stops(&error, FaultClass::Tls, "the server forces encryption");
}

#[tokio::test]
async fn a_pinned_certificate_is_the_only_one_that_is_trusted() {
    let server = with(Encryption::Off);
    let digest = Sha256::digest(server.certificate_der());
    let pin: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    for written in [pin.concat(), pin.join(":")] {
        connects(&server, &format!("encryption = \"required\"\ntrust = {{ sha256 = \"{written}\" }}")).await;
    }
    let other = format!("encryption = \"required\"\ntrust = {{ sha256 = \"{}\" }}", "00".repeat(32));
    let error = refused(&mut *changes(&server, &other, STREAM)).await;
    assert_stops(&error, FaultClass::Tls, &pin.concat().to_lowercase());
}

#[tokio::test]
async fn an_authority_in_a_file_vouches_for_the_name() {
    let made = rcgen::generate_simple_self_signed(vec!["db.hospital.test".to_owned()]).unwrap();
    let certificate = Some((made.cert.pem(), made.signing_key.serialize_pem()));
    let server = filled(Options { certificate, encryption: Encryption::Required, ..Options::default() });
    std::fs::write(server.folder().join("ca.pem"), server.certificate()).unwrap();
    let trust = "encryption = \"required\"\ntrust = { ca = \"ca.pem\" }";
    connects(&server, &format!("{trust}\ncertificate_name = \"db.hospital.test\"")).await;
    assert_stops(&refused(&mut *changes(&server, trust, STREAM)).await, FaultClass::Tls, "for another name");
}

#[tokio::test]
async fn an_unknown_certificate_is_refused_with_its_fingerprint() {
    let server = with(Encryption::Off);
    let shown = hex::encode(Sha256::digest(server.certificate_der()));
    std::fs::write(server.folder().join("other.pem"), with(Encryption::Off).certificate()).unwrap();
    let trust = "encryption = \"required\"\ntrust = { ca = \"other.pem\" }";
    assert_stops(&refused(&mut *changes(&server, trust, STREAM)).await, FaultClass::Tls, &shown);
    let missing = "encryption = \"required\"\ntrust = { ca = \"absent.pem\" }";
    assert_stops(&refused(&mut *changes(&server, missing, STREAM)).await, FaultClass::Tls, "PEM file");
}

#[tokio::test]
async fn a_server_with_old_tls_names_its_cures() {
    for (handshake, action) in [(Handshake::OldAlert, Action::Stop), (Handshake::Closes, Action::Retry { after: None })]
    {
        let server = filled(Options { handshake, ..Options::default() });
        let error = refused(&mut *changes(&server, "encryption = \"login-only\"\ntrust = \"any\"", STREAM)).await;
        assert_eq!((error.class, error.action), (FaultClass::Tls, action), "{}", error.chain());
        let hint = error.hint.unwrap();
        assert!(
            hint.contains("old TLS") && hint.contains("FreeTDS") && hint.contains("encryption = \"off\""),
            "{hint}"
        );
        // The cure without encryption, where the server does not force it.
        connects(&server, "encryption = \"off\"").await;
    }
}

#[tokio::test]
async fn what_hangs_while_connecting_ends_with_connect_timeout() {
    let silent = |silence| Options { silence, encryption: Encryption::NotSupported, ..Options::default() };
    let handshake = Options { handshake: Handshake::Silent, ..Options::default() };
    for (options, more) in [
        (silent(Some(Silence::Accepted)), ""),
        (silent(Some(Silence::Login)), ""),
        (handshake, "encryption = \"required\"\ntrust = \"any\"\n"),
    ] {
        let server = server_of(options);
        let began = Instant::now();
        let error = refused(&mut *changes(&server, &format!("{more}connect_timeout_secs = 1"), STREAM)).await;
        assert_retries(&error, FaultClass::Timeout, "connect_timeout_secs");
        assert!(began.elapsed().as_secs() < 10, "it does not wait for ever");
    }
}

#[tokio::test]
async fn logins_that_are_refused_stop_the_stream() {
    let server = with(Encryption::NotSupported);
    std::fs::write(server.folder().join("wrong"), "guess").unwrap();
    let wrong = changes(&server, "password = { file = \"wrong\" }", STREAM).probe().await.unwrap_err();
    // A second try with a wrong password may lock the login.
    assert_stops(&wrong, FaultClass::Login, "password is wrong");
    assert!(wrong.chain().contains("18456") && !wrong.chain().contains("guess"), "{}", wrong.chain());
    let absent = changes(&server, "password = { file = \"absent\" }", STREAM).probe().await.unwrap_err();
    assert_eq!(absent.class, FaultClass::Login);
    let elsewhere = changes(&server, "database = \"other\"", STREAM).probe().await.unwrap_err();
    assert_retries(&elsewhere, FaultClass::Missing, "settings.database");
}

#[tokio::test]
async fn addresses_that_lead_nowhere_are_told_apart() {
    let server = server();
    let error = refused(&mut *changes(&server, "host = \"db.hospital.invalid\"", STREAM)).await;
    assert_retries(&error, FaultClass::NameResolution, "DNS");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = refused(&mut *changes(&server, &format!("port = {free}"), STREAM)).await;
    assert_retries(&error, FaultClass::Unreachable, "firewall");
}

#[tokio::test]
async fn a_port_that_speaks_another_protocol_is_no_sql_server() {
    let server = server();
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = other.local_addr().unwrap().port();
    let answering = async {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut stream, _) = other.accept().await.unwrap();
        let mut buffer = [0; 512];
        let _ = stream.read(&mut buffer).await;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        stream
    };
    let mut poller = changes(&server, &format!("port = {port}"), STREAM);
    let (error, _stream) = tokio::join!(refused(&mut *poller), answering);
    assert_retries(&error, FaultClass::Protocol, "may not be SQL Server");
}

#[tokio::test]
async fn a_named_instance_is_found_though_questions_get_lost() {
    let server = with(Encryption::NotSupported);
    let browser = Browser::start("PEIS", server.port(), 1);
    connects(&server, &format!("instance = \"peis\"\nbrowser_port = {}", browser.port())).await;
    let absent = format!("instance = \"LIS\"\nbrowser_port = {}", browser.port());
    let error = refused(&mut *changes(&server, &absent, STREAM)).await;
    assert_retries(&error, FaultClass::Unreachable, "set port instead of instance");
}

#[tokio::test]
async fn permissions_and_missing_objects_stop_the_stream() {
    let server = with(Encryption::NotSupported);
    for (number, class) in [(229, FaultClass::Permission), (916, FaultClass::Permission), (207, FaultClass::Missing)] {
        let message = "The SELECT permission was denied on the object 'bg'.".to_owned();
        server.inject("FROM [bg]", FaultKind::Error { number, class: 14, message });
        let error = refused(&mut *changes(&server, "", STREAM)).await;
        assert_eq!((error.class, error.action), (class, Action::Stop), "{number}");
        assert!(error.chain().contains(&number.to_string()));
    }
    let error = refused(&mut *changes(&server, "", &STREAM.replace("\"bg\"", "\"bgg\""))).await;
    assert_stops(&error, FaultClass::Missing, "did you mean \"bg\"?");
    let error = refused(&mut *changes(&server, "", &STREAM.replace("[\"id\"]", "[\"idd\"]"))).await;
    assert_stops(&error, FaultClass::Missing, "did you mean \"id\"?");
}

#[tokio::test]
async fn the_servers_words_are_left_out_where_they_may_quote_a_value() {
    let server = with(Encryption::NotSupported);
    let message = "Conversion failed when converting the varchar value '张三' to data type int.".to_owned();
    server.inject("FROM [bg]", FaultKind::Error { number: 245, class: 16, message });
    let error = refused(&mut *changes(&server, "", STREAM)).await;
    assert_stops(&error, FaultClass::Data, "can't be converted");
    assert!(error.chain().contains("245") && !error.chain().contains("张三"), "{}", error.chain());
}

#[tokio::test]
async fn a_probe_tells_version_clock_and_isolation() {
    let ahead = std::time::Duration::from_secs(3600);
    let server = filled(Options { encryption: Encryption::NotSupported, clock_ahead: ahead, ..Options::default() });
    let probe = changes(&server, "", STREAM).probe().await.unwrap();
    assert!(probe.server.unwrap().starts_with("Microsoft SQL Server 2012"));
    let difference = probe.clock_difference_ms.unwrap();
    assert!((3_590_000..3_610_000).contains(&difference), "{difference}");
    assert!(probe.findings.iter().any(|finding| finding.contains("SNAPSHOT isolation")));
    let probe = changes(&server, "isolation = \"read-committed\"", STREAM).probe().await.unwrap();
    assert!(probe.findings.iter().any(|finding| finding.contains("SNAPSHOT isolation is not used")));
}
