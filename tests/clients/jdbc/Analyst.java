import java.sql.Array;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;

/**
 * What DBeaver does with the driver. Arguments: host:port/database, user, password. A line a finding: its name, a space, its value.
 */
public class Analyst {
    interface Work {
        Object run() throws Exception;
    }

    /** Print what the work gives, or the code of its error. */
    static void find(String name, Work work) {
        Object found;
        try {
            found = work.run();
        } catch (SQLException error) {
            found = "error " + error.getErrorCode();
        } catch (Exception error) {
            found = error.toString();
        }
        System.out.println(name + " " + found);
    }

    static List<String> column(ResultSet rows, String... names) throws SQLException {
        List<String> found = new ArrayList<>();
        try (rows) {
            while (rows.next()) {
                List<String> row = new ArrayList<>();
                for (String name : names) {
                    row.add(rows.getString(name));
                }
                found.add(String.join("|", row));
            }
        }
        return found;
    }

    static String plain(Object value) throws SQLException {
        if (value instanceof Array array) {
            return plain(array.getArray());
        }
        return value instanceof Object[] list ? Arrays.deepToString(list) : String.valueOf(value);
    }

    static Object execute(Connection db, String sql) throws SQLException {
        try (Statement statement = db.createStatement()) {
            statement.execute(sql);
            return "done";
        }
    }

    public static void main(String[] arguments) throws Exception {
        String url = "jdbc:clickhouse://" + arguments[0];
        Properties properties = new Properties();
        properties.put("user", arguments[1]);
        properties.put("password", arguments[2]);
        try (Connection db = DriverManager.getConnection(url, properties)) {
            DatabaseMetaData about = db.getMetaData();
            find("product", about::getDatabaseProductName);
            find("version", about::getDatabaseMajorVersion);
            find("valid", () -> db.isValid(5));
            find("schemas", () -> column(about.getSchemas(), "TABLE_SCHEM").contains("client_test"));
            find("tables", () -> column(about.getTables(null, "client_test", "%", null), "TABLE_NAME", "TABLE_TYPE", "REMARKS"));
            find("columns", () -> column(about.getColumns(null, "client_test", "t", "%"), "COLUMN_NAME", "TYPE_NAME", "REMARKS"));
            find("keys", () -> column(about.getPrimaryKeys(null, "client_test", "t"), "COLUMN_NAME"));
            find("tableTypes", () -> column(about.getTableTypes(), "TABLE_TYPE").contains("VIEW"));
            find("typeInfo", () -> column(about.getTypeInfo(), "TYPE_NAME").contains("DateTime64"));
            find("functions", () -> column(about.getFunctions(null, null, "windowFunnel"), "FUNCTION_NAME"));

            try (Statement statement = db.createStatement(); ResultSet rows = statement.executeQuery("SELECT * FROM t ORDER BY id")) {
                ResultSetMetaData told = rows.getMetaData();
                for (int number = 1; rows.next(); number++) {
                    for (int place = 1; place <= told.getColumnCount(); place++) {
                        System.out.println(told.getColumnName(place) + "." + number + " " + plain(rows.getObject(place)));
                    }
                }
            }
            find("prepared", () -> {
                String sql = "SELECT id, name FROM t WHERE name = ? AND at >= ? AND id IN (?, ?) ORDER BY id";
                try (PreparedStatement statement = db.prepareStatement(sql)) {
                    statement.setString(1, "it's \\ é");
                    statement.setTimestamp(2, Timestamp.from(Instant.parse("2026-03-03T00:00:00Z")));
                    statement.setInt(3, 1);
                    statement.setInt(4, 2);
                    return column(statement.executeQuery(), "id", "name");
                }
            });
            find("large", () -> {
                long sum = 0;
                try (Statement statement = db.createStatement();
                        ResultSet rows = statement.executeQuery("SELECT number, toString(number) FROM numbers(300000)")) {
                    while (rows.next()) {
                        sum += rows.getLong(1);
                    }
                }
                return sum;
            });
            find("maxRows", () -> {
                try (Statement statement = db.createStatement()) {
                    statement.setMaxRows(7);
                    return column(statement.executeQuery("SELECT number FROM numbers(1000)"), "number").size();
                }
            });
            find("cancelled", () -> {
                try (Statement statement = db.createStatement()) {
                    Thread other = new Thread(() -> find("cancel", () -> {
                        Thread.sleep(700);
                        statement.cancel();
                        return "sent";
                    }));
                    other.start();
                    try {
                        statement.executeQuery("SELECT sum(sipHash64(number)) FROM numbers(1900000000)");
                    } finally {
                        other.join();
                    }
                    return "never";
                }
            });
            find("syntax", () -> execute(db, "SELEC 1"));
            find("unknownTable", () -> execute(db, "SELECT * FROM nowhere"));
            find("insert", () -> execute(db, "INSERT INTO t (id) VALUES (99)"));
            find("drop", () -> execute(db, "DROP TABLE t"));
            find("file", () -> execute(db, "SELECT * FROM file('/etc/passwd', 'LineAsString')"));
        }
        Properties bounded = new Properties();
        bounded.putAll(properties);
        bounded.put("clickhouse_setting_max_execution_time", "3");
        try (Connection db = DriverManager.getConnection(url, bounded)) {
            find("boundedByProperty", () -> {
                try (Statement statement = db.createStatement()) {
                    return column(statement.executeQuery("SELECT toString(getSetting('max_execution_time')) AS held"), "held");
                }
            });
        }
        properties.put("password", "wrong");
        find("password", () -> {
            try (Connection db = DriverManager.getConnection(url, properties)) {
                return execute(db, "SELECT 1");
            }
        });
    }
}
