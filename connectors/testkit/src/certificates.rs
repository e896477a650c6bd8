//! Certificates for tests, made for each of them.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};

/// Writes PEM files into a folder: `ca.pem`; `server.pem` and `server.key` for 127.0.0.1;
/// `sender.pem` and `sender.key` for `his.example`; `other.pem` and `other.key` for
/// `other.example`, all of that authority; and `stranger.pem` and `stranger.key` of nobody.
///
/// # Panics
/// Where one can't be made or written.
pub fn certificates(folder: &Path) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a file of the test");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.pem", &params.self_signed(&key).expect("a certificate").pem());
    let issuer = Issuer::new(params, key);
    for (name, host, usage) in [
        ("server", "127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth),
        ("sender", "his.example", ExtendedKeyUsagePurpose::ClientAuth),
        ("other", "other.example", ExtendedKeyUsagePurpose::ClientAuth),
        ("stranger", "his.example", ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([host.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages.push(usage);
        let signed = if name == "stranger" { params.self_signed(&key) } else { params.signed_by(&key, &issuer) };
        write(&format!("{name}.pem"), &signed.expect("a certificate").pem());
        write(&format!("{name}.key"), &key.serialize_pem());
    }
}

/// Writes PEM files of servers into a folder: `ca.pem`; `good.pem` and `good.key` for 127.0.0.1; `expired` for the same,
/// whose time is over; `elsewhere` for `elsewhere.example`, all of that authority; and `stranger` for 127.0.0.1, of an
/// authority that nobody knows.
///
/// # Panics
/// Where one can't be made or written.
pub fn server_certificates(folder: &Path) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a file of the test");
    let authority = |name: &str| {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        (pem, Issuer::new(params, key))
    };
    let ((pem, known), (_, unknown)) = (authority("authority"), authority("nobody"));
    write("ca.pem", &pem);
    for (name, host, issuer) in [
        ("good", "127.0.0.1", &known),
        ("expired", "127.0.0.1", &known),
        ("elsewhere", "elsewhere.example", &known),
        ("stranger", "127.0.0.1", &unknown),
    ] {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([host.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        if name == "expired" {
            (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
        }
        write(&format!("{name}.pem"), &params.signed_by(&key, issuer).expect("a certificate").pem());
        write(&format!("{name}.key"), &key.serialize_pem());
    }
}
