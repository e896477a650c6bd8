use super::*;

fn settings(product: Product, connection: &str) -> OdbcSettings {
    OdbcSettings {
        product,
        connection: connection.to_owned(),
        user: Some("peis".to_owned()),
        password: None,
        login_timeout_secs: 10,
        query_timeout_secs: 60,
        memory_limit_mb: 1024,
        max_value_mb: 32,
        session_time_zone: None,
        environment: BTreeMap::new(),
        program: None,
    }
}

fn whole(product: Product, connection: &str, password: &str) -> String {
    settings(product, connection).connection_string(product.preset(), Some(password))
}

#[test]
fn options_are_added_where_they_are_absent() {
    let text = whole(Product::Mariadb, "Driver=MariaDB Unicode;Server=h;", "p");
    assert_eq!(text, "Driver=MariaDB Unicode;Server=h;CHARSET=utf8mb4;CONN_TIMEOUT=10;UID=peis;PWD=p");
    let text = whole(Product::Mariadb, "DSN=peis;charset=gbk;Conn_Timeout=3", "p");
    assert_eq!(text, "DSN=peis;charset=gbk;Conn_Timeout=3;UID=peis;PWD=p");
    let text = whole(Product::Sqlserver, "Driver=FreeTDS;Server=h", "p");
    assert!(text.contains("ClientCharset=UTF-8") && text.contains("TDS_Version=7.4"), "{text}");
    let text = whole(Product::Postgresql, "Driver=PostgreSQL Unicode", "p");
    assert!(text.contains("UseDeclareFetch=1") && text.contains("client_encoding TO 'UTF8'"), "{text}");
}

#[test]
fn a_password_cannot_break_out() {
    assert!(
        whole(Product::Sqlserver, "Driver=FreeTDS", "P@ss=(1)!").ends_with(";PWD=P@ss=(1)!"),
        "FreeTDS knows no braces"
    );
    assert!(whole(Product::Sqlserver, "Driver=FreeTDS", "a;Server=evil").ends_with(";PWD={a;Server=evil}"));
    assert!(whole(Product::Generic, "DSN=x", "a;Server=evil}").ends_with("PWD={a;Server=evil}}}"));
    let found = attributes(&whole(Product::Generic, "DSN=x", "a;Server=evil}")).unwrap();
    assert_eq!(found.last().unwrap(), &("PWD".to_owned(), "{a;Server=evil}}}".to_owned()));
    assert_eq!(found.len(), 3);
}

#[test]
fn problems_name_their_place() {
    let paths = |settings: OdbcSettings| settings.check().into_iter().map(|problem| problem.path).collect::<Vec<_>>();
    assert!(paths(settings(Product::Oracle, "Driver=/usr/lib/x.so;DBQ=h:1521/orcl")).is_empty());
    for text in ["Server=h", "Driver=x;PWD=geheim", "DSN=x;Uid=u", "DSN={x", "DSN={x}y;A=b", "nonsense"] {
        assert_eq!(paths(settings(Product::Generic, text)), ["settings.connection"], "{text}");
    }
    let mut bad = settings(Product::Generic, "DSN=x");
    bad.query_timeout_secs = 0;
    bad.memory_limit_mb = 3;
    bad.environment.insert("LC_ALL".to_owned(), "zh_CN.GBK".to_owned());
    for (product, zone) in [(Product::Sqlite, "+08:00"), (Product::Postgresql, "UTC'; DROP")] {
        let mut bad = settings(product, "DSN=x");
        bad.session_time_zone = Some(zone.to_owned());
        assert_eq!(paths(bad), ["settings.session_time_zone"]);
    }
    assert_eq!(paths(bad), ["settings.query_timeout_secs", "settings.memory_limit_mb", "settings.environment"]);
}
