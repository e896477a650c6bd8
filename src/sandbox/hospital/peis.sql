-- The simulated checkup system. Tables are its own business; the views are what it shows to others.

CREATE TABLE 明细项目 (
    明细编码 TEXT PRIMARY KEY, 明细名称 TEXT NOT NULL, 结果类型 TEXT NOT NULL, 单位 TEXT, 参考范围 TEXT,
    适用性别 TEXT NOT NULL, 科室 TEXT, 标本 TEXT, LIS编码 TEXT, 停用标志 TEXT, 删除标志 TEXT
);
CREATE TABLE 明细参考 (明细编码 TEXT NOT NULL, 适用性别 TEXT NOT NULL, 下限 TEXT, 上限 TEXT, 参考文字 TEXT);
CREATE TABLE 组合项目 (
    组合编码 TEXT PRIMARY KEY, 组合名称 TEXT NOT NULL, 适用性别 TEXT NOT NULL, 价格 TEXT, 科室 TEXT, 标本 TEXT,
    空腹 TEXT, 停用标志 TEXT, 删除标志 TEXT
);
CREATE TABLE 组合明细 (
    组合编码 TEXT NOT NULL, 明细编码 TEXT NOT NULL, 序号 INTEGER NOT NULL, PRIMARY KEY (组合编码, 明细编码)
);
CREATE TABLE 套餐 (
    套餐编码 TEXT PRIMARY KEY, 套餐名称 TEXT NOT NULL, 体检类型 TEXT NOT NULL, 适用性别 TEXT NOT NULL,
    原价 TEXT NOT NULL, 售价 TEXT NOT NULL, 选择方式 TEXT NOT NULL, 适用范围 TEXT NOT NULL, 单位编码 TEXT,
    年龄下限 TEXT, 年龄上限 TEXT, 开始日期 TEXT, 结束日期 TEXT, 停用标志 TEXT, 禁用标志 TEXT, 删除标志 TEXT
);
CREATE TABLE 套餐明细 (
    套餐编码 TEXT NOT NULL, 组合编码 TEXT NOT NULL, 项目性质 TEXT NOT NULL, 价格 TEXT, 选择组 TEXT,
    数量 INTEGER NOT NULL, 序号 INTEGER NOT NULL, PRIMARY KEY (套餐编码, 组合编码)
);
CREATE TABLE 套餐选择组 (
    套餐编码 TEXT NOT NULL, 选择组 TEXT NOT NULL, 最少 INTEGER NOT NULL, 最多 INTEGER NOT NULL,
    PRIMARY KEY (套餐编码, 选择组)
);
CREATE TABLE 体检登记 (
    体检号 TEXT PRIMARY KEY, 档案号 TEXT NOT NULL, 姓名 TEXT NOT NULL, 性别 TEXT NOT NULL, 出生日期 TEXT,
    证件号 TEXT, 电话 TEXT, 婚姻 TEXT, 单位编码 TEXT, 单位名称 TEXT, 套餐编码 TEXT NOT NULL,
    登记时间 TEXT NOT NULL, 体检日期 TEXT NOT NULL, 年龄 TEXT, 状态 TEXT NOT NULL, 原体检号 TEXT
);
CREATE TABLE 登记组合 (
    体检号 TEXT NOT NULL, 组合编码 TEXT NOT NULL, 来源 TEXT NOT NULL, 状态 TEXT NOT NULL, 小结 TEXT,
    序号 INTEGER NOT NULL, PRIMARY KEY (体检号, 组合编码)
);
CREATE TABLE 体检结果 (
    体检号 TEXT NOT NULL, 组合编码 TEXT NOT NULL, 明细编码 TEXT NOT NULL, 明细名称 TEXT NOT NULL, 结果 TEXT,
    单位 TEXT, 参考范围 TEXT, 提示 TEXT, 危急标志 TEXT, 序号 INTEGER NOT NULL, 检查时间 TEXT, 检查医生 TEXT,
    PRIMARY KEY (体检号, 组合编码, 明细编码)
);
CREATE TABLE 总检结论 (
    体检号 TEXT NOT NULL, 序号 INTEGER NOT NULL, 类型 TEXT NOT NULL, 内容 TEXT NOT NULL, 建议 TEXT,
    PRIMARY KEY (体检号, 序号)
);
CREATE TABLE 体检报告 (
    体检号 TEXT PRIMARY KEY, 报告号 TEXT NOT NULL, 报告状态 TEXT NOT NULL, 总检时间 TEXT, 总检医生 TEXT,
    审核医生 TEXT, 更新时间 TEXT NOT NULL
);
CREATE INDEX 体检报告_更新时间 ON 体检报告 (更新时间, 体检号);

CREATE VIEW V_明细项目 AS SELECT * FROM 明细项目;
CREATE VIEW V_明细参考 AS SELECT * FROM 明细参考;
CREATE VIEW V_组合项目 AS SELECT * FROM 组合项目;
CREATE VIEW V_组合明细 AS SELECT * FROM 组合明细;
CREATE VIEW V_套餐 AS SELECT * FROM 套餐;
CREATE VIEW V_套餐明细 AS
    SELECT m.套餐编码, m.组合编码, g.组合名称, m.项目性质, m.价格, m.选择组, m.数量, m.序号
    FROM 套餐明细 m LEFT JOIN 组合项目 g ON g.组合编码 = m.组合编码;
CREATE VIEW V_套餐选择组 AS SELECT * FROM 套餐选择组;
CREATE VIEW V_体检报告 AS
    SELECT r.体检号, r.报告号, r.报告状态, r.总检时间, r.总检医生, r.审核医生, r.更新时间,
           d.档案号, d.姓名, d.性别, d.出生日期, d.证件号, d.电话, d.婚姻, d.单位编码, d.单位名称, d.套餐编码,
           d.登记时间, d.体检日期, d.年龄, d.状态, d.原体检号
    FROM 体检报告 r LEFT JOIN 体检登记 d ON d.体检号 = r.体检号;
CREATE VIEW V_登记组合 AS SELECT 体检号, 组合编码, 来源, 状态, 序号 FROM 登记组合;
CREATE VIEW V_体检结果 AS
    SELECT t.体检号, t.组合编码, g.组合名称, g.科室, o.小结, o.序号 AS 组合序号, t.明细编码, t.明细名称, t.结果,
           t.单位, t.参考范围, t.提示, t.危急标志, t.序号, t.检查时间, t.检查医生
    FROM 体检结果 t
    LEFT JOIN 组合项目 g ON g.组合编码 = t.组合编码
    LEFT JOIN 登记组合 o ON o.体检号 = t.体检号 AND o.组合编码 = t.组合编码;
CREATE VIEW V_体检结论 AS SELECT * FROM 总检结论;
