#!/usr/bin/env python3
"""A very small hospital: one SQLite file with three views, as a checkup system would offer them.

    python3 hospital.py create     writes hospital.db with one finished report
    python3 hospital.py correct    corrects a result of that report
    python3 hospital.py mistake    adds a report with a code that the mapping does not know

The people are invented; their identity numbers have a region code that does not exist.
"""

import sqlite3
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

DATABASE = Path(__file__).resolve().parent / "hospital.db"

SCHEMA = """
CREATE TABLE report (
    exam_no TEXT PRIMARY KEY, patient_no TEXT, name TEXT, sex TEXT, birthday TEXT, id_number TEXT,
    exam_day TEXT, state TEXT, report_no TEXT, concluded_at TEXT, doctor TEXT, conclusion TEXT,
    changed_at TEXT NOT NULL
);
CREATE TABLE result (
    exam_no TEXT, group_code TEXT, group_name TEXT, item_code TEXT, item_name TEXT, result TEXT,
    unit TEXT, reference TEXT, flag TEXT, line INTEGER, PRIMARY KEY (exam_no, item_code)
);
CREATE INDEX report_changed_at ON report (changed_at, exam_no);
CREATE VIEW v_report AS
    SELECT exam_no, patient_no, name, sex, birthday, id_number, exam_day, state, report_no, concluded_at, doctor,
           changed_at FROM report;
CREATE VIEW v_conclusion AS SELECT exam_no, conclusion FROM report;
CREATE VIEW v_result AS SELECT * FROM result;
"""

RESULTS = [
    ("BLOOD", "血常规", "WBC", "白细胞计数", "6.2", "10^9/L", "3.5-9.5", "N", 1),
    ("BLOOD", "血常规", "HGB", "血红蛋白", "141", "g/L", "130-175", "N", 2),
    ("GLU", "血糖", "FPG", "空腹血糖", "6.4", "mmol/L", "3.9-6.1", "H", 3),
]


def now() -> str:
    """The hospital's wall clock: Asia/Shanghai, without a zone, as such systems write it."""
    return datetime.now(timezone(timedelta(hours=8))).strftime("%Y-%m-%d %H:%M:%S")


def add(db: sqlite3.Connection, exam_no: str, person: tuple) -> None:
    """Adds a finished report."""
    values = (exam_no, *person, "2026-11-20", "final", "R" + exam_no, "2026-11-20 16:05:00", "张医生",
              "空腹血糖升高，建议复查。", now())
    db.execute("INSERT INTO report VALUES (" + ", ".join("?" * len(values)) + ")", values)
    db.executemany("INSERT INTO result VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [(exam_no, *row) for row in RESULTS])


def main(verb: str) -> None:
    if verb == "create":
        DATABASE.unlink(missing_ok=True)
    elif not DATABASE.exists():
        sys.exit("there is no hospital.db yet: python3 hospital.py create")
    with sqlite3.connect(DATABASE) as db:
        if verb == "create":
            db.executescript(SCHEMA)
            add(db, "2026000001", ("P0001", "测试甲", "M", "1988-06-01", "999001198806010014"))
        elif verb == "correct":
            db.execute("UPDATE result SET result = '5.4', flag = 'N' WHERE exam_no = '2026000001' AND item_code = 'FPG'")
            db.execute("UPDATE report SET conclusion = '未见明显异常。', changed_at = ? WHERE exam_no = '2026000001'", (now(),))
        elif verb == "mistake":
            add(db, "2026000002", ("P0002", "测试乙", "X", "1990-01-15", None))
        else:
            sys.exit(__doc__)
    print(f"{verb}: {DATABASE.name}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) == 2 else "")
