//! The server is what it says it is to clients that this project did not write: FreeTDS, its ODBC
//! driver and python-tds.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use connector_tds_testkit::{Encryption, FaultKind, Options, TdsServer};

const PASSWORD: &str = "p4ss-Word";

fn server(encryption: Encryption) -> TdsServer {
    let server = TdsServer::start(Options { encryption, password: PASSWORD.to_owned(), ..Options::default() });
    server.execute(
        "CREATE TABLE bg (id int NOT NULL, name nvarchar(20), gbk varchar(20), fixed char(6), amount decimal(18,4),
             price money, at datetime, at2 datetime2(3), day date, ok bit, big bigint, ratio float, doc varbinary(max),
             memo nvarchar(max), who uniqueidentifier, version rowversion);
         INSERT INTO bg VALUES (1, '张三𠮷', '体检中心', 'AB', '12.3400', '5.25', '2024-01-02 08:00:09.003',
             '2024-01-02 08:00:09.123', '2024-01-02', 1, 9007199254740993, 1.5, x'0001ff', 'memo 体检',
             '6F9619FF-8B86-D011-B42D-00C04FC964FF', x'00000000000007d1');
         INSERT INTO bg (id) VALUES (2);",
    );
    server
}

fn run(command: &mut Command, input: &str) -> (Output, String) {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("see scripts/test");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output, text)
}

fn tsql(server: &TdsServer, password: &str, input: &str) -> String {
    let mut command = Command::new("tsql");
    command.env("LC_ALL", "C.UTF-8").env("TDSVER", "7.4");
    command.args(["-H", "127.0.0.1", "-p", &server.port().to_string(), "-U", "hisync", "-P", password, "-D", "tj"]);
    run(&mut command, input).1
}

#[test]
fn tsql_reads_rows_with_and_without_encryption() {
    for encryption in [Encryption::Off, Encryption::NotSupported, Encryption::Required] {
        let server = server(encryption);
        let query = "SELECT TOP 5 [id], [name], [gbk], [fixed], [amount], [price], [at2], [big], [ratio] FROM dbo.bg \
                     WITH (NOLOCK) WHERE [id] = 1\ngo\nexit\n";
        let shown = tsql(&server, PASSWORD, query);
        for part in
            ["张三𠮷", "体检中心", "AB    ", "12.3400", "5.25", "Jan  2 2024 08:00AM", "9007199254740993", "1.5"]
        {
            assert!(shown.contains(part), "{encryption:?}: {part} is not in {shown}");
        }
    }
}

#[test]
fn tsql_is_told_what_is_wrong() {
    let server = server(Encryption::Off);
    assert!(tsql(&server, "wrong", "exit\n").contains("18456"));
    assert!(tsql(&server, PASSWORD, "SELECT 1 FROM absent\ngo\nexit\n").contains("208"));
    assert!(tsql(&server, PASSWORD, "SELECT [absent] FROM bg\ngo\nexit\n").contains("207"));
    let message = "The SELECT permission was denied.".to_owned();
    server.inject("FROM bg", FaultKind::Error { number: 229, class: 14, message });
    assert!(tsql(&server, PASSWORD, "SELECT id FROM bg\ngo\nexit\n").contains("229"));
}

#[test]
fn the_odbc_driver_of_freetds_reads_rows() {
    let server = server(Encryption::Off);
    let connection = format!(
        "Driver=/usr/lib/x86_64-linux-gnu/odbc/libtdsodbc.so;Server=127.0.0.1;Port={};Database=tj;UID=hisync;\
         PWD={PASSWORD};TDS_Version=7.4;ClientCharset=UTF-8",
        server.port()
    );
    let mut command = Command::new("isql");
    command.env("LC_ALL", "C.UTF-8").args(["-b", "-k", &connection]);
    let shown = run(&mut command, "SELECT id, name, gbk, amount, day, who FROM bg ORDER BY id\n").1;
    for part in ["张三𠮷", "体检中心", "12.3400", "2024-01-02", "6F9619FF-8B86-D011-B42D-00C04FC964FF"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
}

#[test]
fn python_tds_reads_every_type_with_bound_parameters() {
    let python = std::env::var("HISYNC_PYTHON").expect("HISYNC_PYTHON: see scripts/test");
    let server = server(Encryption::Off);
    let script = r#"
import sys, pytds, datetime, decimal, uuid
connection = pytds.connect(dsn='127.0.0.1', port=int(sys.argv[1]), database='tj', user='hisync', password=sys.argv[2])
cursor = connection.cursor()
cursor.execute('SELECT * FROM bg WHERE id = %s AND name = %s', (1, '张三𠮷'))
row = cursor.fetchone()
assert row[:3] == (1, '张三𠮷', '体检中心'), row
assert row[3] == 'AB    ', row
assert row[4] == decimal.Decimal('12.3400') and row[5] == decimal.Decimal('5.25'), row
assert row[6] == datetime.datetime(2024, 1, 2, 8, 0, 9, 3333) or row[6] == datetime.datetime(2024, 1, 2, 8, 0, 9, 3000), row
assert row[7] == datetime.datetime(2024, 1, 2, 8, 0, 9, 123000) and row[8] == datetime.date(2024, 1, 2), row
assert row[9] is True and row[10] == 9007199254740993 and row[11] == 1.5, row
assert row[12] == b'\x00\x01\xff' and row[13] == 'memo 体检', row
assert row[14] == uuid.UUID('6F9619FF-8B86-D011-B42D-00C04FC964FF'), row
assert row[15] == b'\x00\x00\x00\x00\x00\x00\x07\xd1', row
cursor.execute('SELECT * FROM bg WHERE id = 2')
assert cursor.fetchone() == (2,) + (None,) * 15
cursor.execute('SELECT COUNT(*) FROM bg')
assert cursor.fetchone() == (2,)
try:
    cursor.execute('SELECT x FROM bg')
    assert False
except pytds.Error as error:
    assert '207' in str(error.number if hasattr(error, 'number') else error) or 'Invalid column' in str(error), error
print('ok')
"#;
    let mut command = Command::new(python);
    command.args(["-", &server.port().to_string(), PASSWORD]);
    let (output, shown) = run(&mut command, script);
    assert!(output.status.success() && shown.contains("ok"), "{shown}");
}
