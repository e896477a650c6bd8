//! Certificates for tests, made for each of them.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

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
