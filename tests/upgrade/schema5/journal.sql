PRAGMA user_version = 5;
PRAGMA application_id = 1180200052;
BEGIN TRANSACTION;
CREATE TABLE "attached" ("chain" INTEGER NOT NULL, "parent" INTEGER NOT NULL, PRIMARY KEY ("chain", "parent")) WITHOUT ROWID;
CREATE TABLE "attempt" ("task" INTEGER NOT NULL, "number" INTEGER NOT NULL, "epoch" INTEGER NOT NULL, "worker" INTEGER NOT NULL, "started" REAL NOT NULL, "ended" REAL, "outcome" TEXT, "error" TEXT, "log_start" INTEGER NOT NULL, "log_end" INTEGER, "peak" INTEGER, "cpu" REAL, "host" TEXT, PRIMARY KEY ("task", "number")) WITHOUT ROWID;
INSERT INTO "attempt" VALUES(1,1,1,0,1.79574097463786029812e+09,1.79574097464604687688e+09,'succeeded',NULL,0,17,26963968,1.87500000000000166533e-03,NULL);
INSERT INTO "attempt" VALUES(2,1,1,0,1.79574097464604687688e+09,NULL,NULL,NULL,17,NULL,NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(4,1,1,1,1.79574097467171931268e+09,1.7957409746795985699e+09,'succeeded',NULL,0,16,26963968,1.25899999999999970268e-03,NULL);
INSERT INTO "attempt" VALUES(5,1,1,2,1.79574097467442846294e+09,1.79574097467692327502e+09,'succeeded',NULL,0,16,26963968,1.21199999999999953603e-03,NULL);
INSERT INTO "attempt" VALUES(6,1,1,2,1.79574097467692327502e+09,NULL,NULL,NULL,16,NULL,NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(7,1,1,1,1.7957409746795985699e+09,NULL,NULL,NULL,16,NULL,NULL,NULL,NULL);
CREATE TABLE "awaited" ("tail" INTEGER NOT NULL, "waiter" INTEGER NOT NULL, "wait" INTEGER NOT NULL, "any" INTEGER NOT NULL, "due" REAL, "event" TEXT, "nth" INTEGER, PRIMARY KEY ("tail", "waiter", "wait")) WITHOUT ROWID;
INSERT INTO "awaited" VALUES(6,2,1,0,NULL,NULL,NULL);
INSERT INTO "awaited" VALUES(7,2,1,0,NULL,NULL,NULL);
INSERT INTO "awaited" VALUES(8,2,1,0,NULL,NULL,NULL);
CREATE TABLE "event" ("id" INTEGER NOT NULL PRIMARY KEY, "at" REAL NOT NULL, "task" INTEGER NOT NULL, "attempt" INTEGER NOT NULL, "move" TEXT NOT NULL, "state" TEXT NOT NULL);
INSERT INTO "event" VALUES(1,1.79574097460269641881e+09,1,0,'release','ready');
INSERT INTO "event" VALUES(2,1.79574097463786029812e+09,1,1,'claim','running');
INSERT INTO "event" VALUES(3,1.79574097464604687688e+09,1,1,'succeed','succeeded');
INSERT INTO "event" VALUES(4,1.79574097464604687688e+09,2,0,'release','ready');
INSERT INTO "event" VALUES(5,1.79574097464604687688e+09,2,1,'claim','running');
INSERT INTO "event" VALUES(6,1.79574097464957499505e+09,4,0,'release','ready');
INSERT INTO "event" VALUES(7,1.79574097465214443207e+09,5,0,'release','ready');
INSERT INTO "event" VALUES(8,1.79574097465214443207e+09,6,0,'release','ready');
INSERT INTO "event" VALUES(9,1.79574097465214443207e+09,7,0,'release','ready');
INSERT INTO "event" VALUES(10,1.79574097465214443207e+09,8,0,'release','ready');
INSERT INTO "event" VALUES(11,1.79574097465214443207e+09,2,1,'block','blocked');
INSERT INTO "event" VALUES(12,1.79574097467171931268e+09,4,1,'claim','running');
INSERT INTO "event" VALUES(13,1.79574097467442846294e+09,5,1,'claim','running');
INSERT INTO "event" VALUES(14,1.79574097467692327502e+09,5,1,'succeed','succeeded');
INSERT INTO "event" VALUES(15,1.79574097467692327502e+09,6,1,'claim','running');
INSERT INTO "event" VALUES(16,1.7957409746795985699e+09,4,1,'succeed','succeeded');
INSERT INTO "event" VALUES(17,1.7957409746795985699e+09,7,1,'claim','running');
CREATE TABLE "flame" ("task" INTEGER NOT NULL, "key" TEXT NOT NULL, "type" TEXT NOT NULL, "value" TEXT NOT NULL, "position" INTEGER NOT NULL, PRIMARY KEY ("task", "key")) WITHOUT ROWID;
CREATE TABLE "incarnation" ("epoch" INTEGER NOT NULL PRIMARY KEY, "pid" INTEGER NOT NULL, "host" TEXT NOT NULL, "started" REAL NOT NULL, "ended" REAL, "how" TEXT, "about" TEXT);
INSERT INTO "incarnation" VALUES(1,26219,'here',1.79574097460269641881e+09,NULL,NULL,NULL);
CREATE TABLE "legal" ("move" TEXT NOT NULL, "source" TEXT NOT NULL, "target" TEXT NOT NULL, PRIMARY KEY ("move", "source", "target")) WITHOUT ROWID;
INSERT INTO "legal" VALUES('block','running','blocked');
INSERT INTO "legal" VALUES('claim','ready','running');
INSERT INTO "legal" VALUES('decide','failed','succeeded');
INSERT INTO "legal" VALUES('decide','ready','succeeded');
INSERT INTO "legal" VALUES('decide','revoked','succeeded');
INSERT INTO "legal" VALUES('fail','blocked','failed');
INSERT INTO "legal" VALUES('fail','running','failed');
INSERT INTO "legal" VALUES('lose','blocked','ready');
INSERT INTO "legal" VALUES('lose','running','ready');
INSERT INTO "legal" VALUES('perform','ready','succeeded');
INSERT INTO "legal" VALUES('release','waiting','ready');
INSERT INTO "legal" VALUES('reopen','failed','ready');
INSERT INTO "legal" VALUES('reopen','failed','waiting');
INSERT INTO "legal" VALUES('reopen','revoked','ready');
INSERT INTO "legal" VALUES('reopen','revoked','waiting');
INSERT INTO "legal" VALUES('reopen','skipped','ready');
INSERT INTO "legal" VALUES('reopen','skipped','waiting');
INSERT INTO "legal" VALUES('retry','running','ready');
INSERT INTO "legal" VALUES('revoke','blocked','revoked');
INSERT INTO "legal" VALUES('revoke','ready','revoked');
INSERT INTO "legal" VALUES('revoke','running','revoked');
INSERT INTO "legal" VALUES('revoke','waiting','revoked');
INSERT INTO "legal" VALUES('skip','waiting','skipped');
INSERT INTO "legal" VALUES('stop','blocked','ready');
INSERT INTO "legal" VALUES('stop','running','ready');
INSERT INTO "legal" VALUES('succeed','running','succeeded');
INSERT INTO "legal" VALUES('unblock','blocked','running');
INSERT INTO "legal" VALUES('wake','blocked','ready');
CREATE TABLE "noted" ("task" INTEGER NOT NULL, "retry" INTEGER NOT NULL, "name" TEXT NOT NULL, "number" INTEGER NOT NULL, "value" TEXT NOT NULL, PRIMARY KEY ("task", "retry", "name", "number")) WITHOUT ROWID;
CREATE TABLE "once" ("key" TEXT NOT NULL PRIMARY KEY, "task" INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE "run" ("id" INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), "firex_id" TEXT NOT NULL, "state" TEXT NOT NULL, "epoch" INTEGER NOT NULL, "chain" TEXT NOT NULL, "inputs" TEXT NOT NULL, "options" TEXT NOT NULL, "created" REAL NOT NULL, "ended" REAL);
INSERT INTO "run" VALUES(1,'FireX-li-261127-005614-48950','running',1,'prepare,write,bind','{"sheets":"12000"}','{"plugins": [{"path": "pages.py", "digest": "ec9caa51780c3673"}], "helpers": [], "arguments": {"sheets": "12000"}, "key": null, "asked": null, "workers": 2, "queues": {}, "soft_time_limit": null, "executor": "local", "insecure": false, "full_wait_s": 60.0, "cwd": "/home/li/book", "argv": ["firexlite", "submit", "--plugins", "pages.py", "--chain", "prepare,write,bind", "--sheets", "12000", "--workers", "2"], "json_file": null, "flame": null, "on_end": null, "user": "li", "host": "here", "sqlite": "3.40.1", "secrets": [], "python": "3.11.7", "firexlite": "0.1.0", "pickle": null}',1.79574097460269641881e+09,NULL);
CREATE TABLE "sent" ("id" INTEGER NOT NULL PRIMARY KEY, "name" TEXT NOT NULL, "nth" INTEGER NOT NULL, "value" TEXT NOT NULL, "at" REAL NOT NULL);
CREATE TABLE "service" ("name" TEXT NOT NULL PRIMARY KEY, "about" TEXT NOT NULL, "digest" TEXT NOT NULL);
INSERT INTO "service" VALUES('pages.prepare','{"positional": ["sheets"], "keyword_only": [], "positional_only": [], "var_positional": null, "var_keyword": null, "defaults": {}, "returns": ["paper"], "file": "/home/li/book/pages.py", "line": 15, "plugin": true, "head": ["@app.task(returns=\"paper\")", "def prepare(sheets):"], "short_name": "prepare", "soft_time_limit": null, "time_limit": null}','ec9caa51780c3673');
INSERT INTO "service" VALUES('pages.write','{"positional": ["paper"], "keyword_only": [], "positional_only": [], "var_positional": null, "var_keyword": null, "defaults": {}, "returns": ["pages"], "file": "/home/li/book/pages.py", "line": 22, "plugin": true, "head": ["@app.task(bind=True, returns=\"pages\")", "def write(self, paper):"], "short_name": "write", "soft_time_limit": null, "time_limit": null}','ec9caa51780c3673');
INSERT INTO "service" VALUES('pages.bind','{"positional": ["pages", "paper"], "keyword_only": [], "positional_only": [], "var_positional": null, "var_keyword": null, "defaults": {}, "returns": ["book"], "file": "/home/li/book/pages.py", "line": 39, "plugin": true, "head": ["@app.task(returns=\"book\")", "def bind(pages, paper):"], "short_name": "bind", "soft_time_limit": null, "time_limit": null}','ec9caa51780c3673');
INSERT INTO "service" VALUES('pages.write_page','{"positional": ["number", "paper"], "keyword_only": [], "positional_only": [], "var_positional": null, "var_keyword": null, "defaults": {}, "returns": ["page"], "file": "/home/li/book/pages.py", "line": 30, "plugin": true, "head": ["@app.task(returns=\"page\")", "def write_page(number, paper):"], "short_name": "write_page", "soft_time_limit": null, "time_limit": null}','ec9caa51780c3673');
CREATE TABLE "task" ("id" INTEGER NOT NULL PRIMARY KEY, "parent" INTEGER, "parent_retry" INTEGER NOT NULL, "chain" INTEGER NOT NULL, "last" INTEGER NOT NULL, "depth" INTEGER NOT NULL, "service" TEXT NOT NULL, "arguments" TEXT NOT NULL, "digest" TEXT, "worker_deaths" INTEGER NOT NULL, "on_interrupt" TEXT NOT NULL DEFAULT 'retry', "state" TEXT NOT NULL, "move" TEXT, "moved" REAL NOT NULL, "attempt" INTEGER NOT NULL, "retry" INTEGER NOT NULL, "deaths" INTEGER NOT NULL, "epoch" INTEGER, "worker" INTEGER, "wakeable" INTEGER NOT NULL, "held" INTEGER NOT NULL, "relaxed" INTEGER NOT NULL, "stopped" TEXT, "unsure" INTEGER NOT NULL DEFAULT 0, "redoes" INTEGER, "aside" INTEGER NOT NULL, "queue" TEXT, "limited" TEXT NOT NULL DEFAULT '', "slots" INTEGER NOT NULL DEFAULT 1, "priority" INTEGER NOT NULL DEFAULT 0, "due" REAL, "reserved" INTEGER, "keeps_children" INTEGER NOT NULL DEFAULT 0, "shared" INTEGER NOT NULL DEFAULT 0, "cached_from" INTEGER, "options" TEXT, "reason" TEXT, "result" TEXT, "changes" TEXT);
INSERT INTO "task" VALUES(1,NULL,0,1,3,0,'pages.prepare','{"argv":["firexlite","submit","--plugins","pages.py","--chain","prepare,write,bind","--sheets","12000","--workers","2"],"chain":"prepare,write,bind","json_file":null,"plugins":"pages.py","submission_dir":"/home/li/book","submitter":"li","sync":true,"uid":{"$type":"Uid","value":"FireX-li-261127-005614-48950"},"sheets":"12000"}','796b306cb3e1e2c24814f514030b2c25',3,'retry','succeeded','succeed',1.79574097464604687688e+09,1,0,0,1,0,0,0,0,NULL,0,NULL,0,NULL,'',1,0,NULL,NULL,0,0,NULL,NULL,NULL,'blob:890ad509db6db4fcb89940fe061d6cc567e91bed60995e44457e0c5d1ea92bc6','{}');
INSERT INTO "task" VALUES(2,NULL,0,1,3,0,'pages.write','{}',NULL,3,'retry','blocked','block',1.79574097465214443207e+09,1,0,0,1,0,0,0,0,NULL,0,NULL,0,NULL,'',1,0,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "task" VALUES(3,NULL,0,1,3,0,'pages.bind','{}',NULL,3,'retry','waiting',NULL,1.79574097460269641881e+09,0,0,0,NULL,NULL,0,0,0,NULL,0,NULL,0,NULL,'',1,0,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "task" VALUES(4,2,0,4,4,1,'pages.write_page','{"number":0,"paper":"white"}','16b3640d20a5c1ab2a95667380d3d315',3,'retry','succeeded','succeed',1.7957409746795985699e+09,1,0,0,1,1,0,0,0,NULL,0,NULL,0,NULL,'',1,0,NULL,NULL,0,0,NULL,NULL,NULL,'{"page":"page 0 on white"}','{}');
INSERT INTO "task" VALUES(5,2,0,5,5,1,'pages.write_page','{"number":1,"paper":"white"}','df971716413d6a3921150e8cfd4f6668',3,'retry','succeeded','succeed',1.79574097467692327502e+09,1,0,0,1,2,0,0,0,NULL,0,NULL,0,NULL,'',1,0,NULL,NULL,0,0,NULL,NULL,NULL,'{"page":"page 1 on white"}','{}');
INSERT INTO "task" VALUES(6,2,0,6,6,1,'pages.write_page','{"number":2,"paper":"white"}','c7ab4c1087d55a6d50cb3cd0cc194221',3,'retry','running','claim',1.79574097467692327502e+09,1,0,0,1,2,0,0,0,NULL,0,NULL,0,NULL,'',1,0,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "task" VALUES(7,2,0,7,7,1,'pages.write_page','{"number":3,"paper":"white"}','54bf40fe83e83a2853c9b90a2adc24b9',3,'retry','running','claim',1.7957409746795985699e+09,1,0,0,1,1,0,0,0,NULL,0,NULL,0,NULL,'',1,0,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "task" VALUES(8,2,0,8,8,1,'pages.write_page','{"number":4,"paper":"white"}','c184730aa45e6af0449564d42dee86b9',3,'retry','ready','release',1.79574097465214443207e+09,0,0,0,NULL,NULL,0,0,0,NULL,0,NULL,0,NULL,'',1,0,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL);
CREATE INDEX task_ready ON task (limited, priority, depth DESC, id) WHERE state = 'ready' AND stopped IS NULL AND due IS NULL AND reserved IS NULL;
CREATE INDEX task_reserved ON task (reserved) WHERE reserved IS NOT NULL;
CREATE INDEX task_due ON task (due) WHERE due IS NOT NULL;
CREATE INDEX task_running ON task (worker, slots) WHERE state = 'running';
CREATE INDEX task_in_queue ON task (limited) WHERE limited <> '' AND state IN ('running', 'blocked');
CREATE INDEX task_woken ON task (limited) WHERE limited <> '' AND state = 'ready' AND move = 'wake';
CREATE INDEX task_wakeable ON task (depth DESC, id) WHERE state = 'blocked' AND wakeable;
CREATE INDEX task_blocked ON task (worker) WHERE state = 'blocked';
CREATE INDEX task_call ON task (parent, parent_retry) WHERE digest IS NOT NULL;
CREATE INDEX awaited_by ON awaited (waiter, wait);
CREATE INDEX awaited_due ON awaited (due) WHERE due IS NOT NULL;
CREATE INDEX awaited_event ON awaited (event, nth) WHERE event IS NOT NULL;
CREATE INDEX sent_nth ON sent (name, nth);
CREATE INDEX attached_by ON attached (parent);
CREATE INDEX task_redo ON task (redoes) WHERE redoes IS NOT NULL;
CREATE TRIGGER only_legal_moves BEFORE UPDATE OF state ON task
       WHEN NOT EXISTS (SELECT 1 FROM legal WHERE move = NEW.move AND source = OLD.state AND target = NEW.state)
       BEGIN SELECT RAISE(ABORT, 'no such move'); END;
CREATE TRIGGER a_move_is_an_event AFTER UPDATE OF state ON task WHEN NEW.move <> 'perform'
       BEGIN INSERT INTO event (at, task, attempt, move, state)
       VALUES (NEW.moved, NEW.id, NEW.attempt, NEW.move, NEW.state); END;
CREATE TRIGGER to_perform_is_two_events AFTER UPDATE OF state ON task WHEN NEW.move = 'perform'
       BEGIN INSERT INTO event (at, task, attempt, move, state)
       SELECT started, task, number, 'claim', 'running' FROM attempt WHERE task = NEW.id AND number = NEW.attempt
       UNION ALL
       SELECT ended, task, number, 'succeed', 'succeeded' FROM attempt WHERE task = NEW.id AND number = NEW.attempt; END;
CREATE TRIGGER the_first_is_released AFTER INSERT ON task WHEN NEW.state = 'ready'
       BEGIN INSERT INTO event (at, task, attempt, move, state) VALUES (NEW.moved, NEW.id, 0, 'release', 'ready'); END;
CREATE TRIGGER success_is_for_ever BEFORE UPDATE OF id, parent, parent_retry, chain, last, depth, service, arguments, digest, worker_deaths, on_interrupt, state, move, moved, attempt, retry, deaths, epoch, worker, wakeable, held, relaxed, stopped, unsure, redoes, queue, limited, slots, priority, due, reserved, keeps_children, shared, cached_from, options, reason, result, changes ON task WHEN OLD.state = 'succeeded'
       BEGIN SELECT RAISE(ABORT, 'a succeeded task never changes'); END;
CREATE TRIGGER tasks_stay BEFORE DELETE ON task
       BEGIN SELECT RAISE(ABORT, 'no task is ever deleted'); END;
CREATE TRIGGER attempts_stay BEFORE DELETE ON attempt
       BEGIN SELECT RAISE(ABORT, 'no attempt is ever deleted'); END;
CREATE TRIGGER events_stay BEFORE DELETE ON event
       BEGIN SELECT RAISE(ABORT, 'no event is ever deleted'); END;
CREATE TRIGGER what_was_sent_stays BEFORE DELETE ON sent
       BEGIN SELECT RAISE(ABORT, 'nothing that was sent is ever deleted'); END;
CREATE TRIGGER an_ended_attempt_stays BEFORE UPDATE ON attempt WHEN OLD.ended IS NOT NULL
       BEGIN SELECT RAISE(ABORT, 'an ended attempt never changes'); END;
COMMIT;
