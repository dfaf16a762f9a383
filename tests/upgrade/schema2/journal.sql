PRAGMA user_version = 2;
PRAGMA application_id = 1180200052;
BEGIN TRANSACTION;
CREATE TABLE "attempt" ("task" INTEGER NOT NULL, "number" INTEGER NOT NULL, "epoch" INTEGER NOT NULL, "worker" INTEGER NOT NULL, "started" REAL NOT NULL, "ended" REAL, "outcome" TEXT, "error" TEXT, "log_start" INTEGER NOT NULL, "log_end" INTEGER, PRIMARY KEY ("task", "number")) WITHOUT ROWID;
INSERT INTO "attempt" VALUES(1,1,1,0,1.79571404879097652439e+09,1.79571404882370305061e+09,'succeeded',NULL,0,17);
INSERT INTO "attempt" VALUES(2,1,1,0,1.79571404882370305061e+09,NULL,NULL,NULL,17,NULL);
INSERT INTO "attempt" VALUES(4,1,1,1,1.79571404886767458913e+09,1795714048.86951,'succeeded',NULL,0,16);
INSERT INTO "attempt" VALUES(5,1,1,1,1795714048.86951,1795714048.87781,'succeeded',NULL,16,32);
INSERT INTO "attempt" VALUES(6,1,1,1,1795714048.87781,NULL,NULL,NULL,32,NULL);
INSERT INTO "attempt" VALUES(7,1,1,2,1.79571404888810324672e+09,NULL,NULL,NULL,0,NULL);
CREATE TABLE "awaited" ("tail" INTEGER NOT NULL, "waiter" INTEGER NOT NULL, "wait" INTEGER NOT NULL, "any" INTEGER NOT NULL, PRIMARY KEY ("tail", "waiter", "wait")) WITHOUT ROWID;
INSERT INTO "awaited" VALUES(6,2,1,0);
INSERT INTO "awaited" VALUES(7,2,1,0);
INSERT INTO "awaited" VALUES(8,2,1,0);
CREATE TABLE "event" ("id" INTEGER NOT NULL PRIMARY KEY, "at" REAL NOT NULL, "task" INTEGER NOT NULL, "attempt" INTEGER NOT NULL, "move" TEXT NOT NULL, "state" TEXT NOT NULL);
INSERT INTO "event" VALUES(1,1.79571404866781783107e+09,1,0,'release','ready');
INSERT INTO "event" VALUES(2,1.79571404879097652439e+09,1,1,'claim','running');
INSERT INTO "event" VALUES(3,1.79571404882370305061e+09,1,1,'succeed','succeeded');
INSERT INTO "event" VALUES(4,1.79571404882370305061e+09,2,0,'release','ready');
INSERT INTO "event" VALUES(5,1.79571404882370305061e+09,2,1,'claim','running');
INSERT INTO "event" VALUES(6,1.79571404882671785355e+09,4,0,'release','ready');
INSERT INTO "event" VALUES(7,1.79571404883506369589e+09,5,0,'release','ready');
INSERT INTO "event" VALUES(8,1.79571404883559226995e+09,6,0,'release','ready');
INSERT INTO "event" VALUES(9,1.79571404883594274524e+09,7,0,'release','ready');
INSERT INTO "event" VALUES(10,1.79571404883620691301e+09,8,0,'release','ready');
INSERT INTO "event" VALUES(11,1.79571404883643746374e+09,2,1,'block','blocked');
INSERT INTO "event" VALUES(12,1.79571404886767458913e+09,4,1,'claim','running');
INSERT INTO "event" VALUES(13,1795714048.86951,4,1,'succeed','succeeded');
INSERT INTO "event" VALUES(14,1795714048.86951,5,1,'claim','running');
INSERT INTO "event" VALUES(15,1795714048.87781,5,1,'succeed','succeeded');
INSERT INTO "event" VALUES(16,1795714048.87781,6,1,'claim','running');
INSERT INTO "event" VALUES(17,1.79571404888810324672e+09,7,1,'claim','running');
CREATE TABLE "flame" ("task" INTEGER NOT NULL, "key" TEXT NOT NULL, "type" TEXT NOT NULL, "value" TEXT NOT NULL, "position" INTEGER NOT NULL, PRIMARY KEY ("task", "key")) WITHOUT ROWID;
CREATE TABLE "incarnation" ("epoch" INTEGER NOT NULL PRIMARY KEY, "pid" INTEGER NOT NULL, "host" TEXT NOT NULL, "started" REAL NOT NULL, "ended" REAL, "how" TEXT, "about" TEXT);
INSERT INTO "incarnation" VALUES(1,9940,'here',1.79571404866781783107e+09,NULL,NULL,NULL);
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
CREATE TABLE "noted" ("task" INTEGER NOT NULL, "retry" INTEGER NOT NULL, "name" TEXT NOT NULL, "number" INTEGER NOT NULL, "value" TEXT NOT NULL, PRIMARY KEY ("task", "retry", "name", "number")) WITHOUT ROWID;
CREATE TABLE "run" ("id" INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), "firex_id" TEXT NOT NULL, "state" TEXT NOT NULL, "epoch" INTEGER NOT NULL, "chain" TEXT NOT NULL, "inputs" TEXT NOT NULL, "options" TEXT NOT NULL, "created" REAL NOT NULL, "ended" REAL);
INSERT INTO "run" VALUES(1,'FireX-li-261126-172728-61538','running',1,'prepare,write,bind','{"sheets":"12000"}','{"plugins": [{"path": "pages.py", "digest": "ec9caa51780c3673"}], "helpers": [], "workers": 2, "full_wait_s": 60.0, "cwd": "/home/li/book", "argv": ["firexlite", "submit", "--plugins", "pages.py", "--chain", "prepare,write,bind", "--sheets", "12000", "--workers", "2"], "json_file": null, "user": "li", "host": "here", "sqlite": "3.40.1", "secrets": [], "python": "3.11.7", "firexlite": "0.1.0"}',1.79571404866781783107e+09,NULL);
CREATE TABLE "service" ("name" TEXT NOT NULL PRIMARY KEY, "about" TEXT NOT NULL, "digest" TEXT NOT NULL);
INSERT INTO "service" VALUES('pages.prepare','{"positional": ["sheets"], "keyword_only": [], "positional_only": [], "var_positional": null, "var_keyword": null, "defaults": {}, "returns": ["paper"], "file": "/home/li/book/pages.py", "line": 15, "plugin": true, "short_name": "prepare"}','ec9caa51780c3673');
INSERT INTO "service" VALUES('pages.write','{"positional": ["paper"], "keyword_only": [], "positional_only": [], "var_positional": null, "var_keyword": null, "defaults": {}, "returns": ["pages"], "file": "/home/li/book/pages.py", "line": 22, "plugin": true, "short_name": "write"}','ec9caa51780c3673');
INSERT INTO "service" VALUES('pages.bind','{"positional": ["pages", "paper"], "keyword_only": [], "positional_only": [], "var_positional": null, "var_keyword": null, "defaults": {}, "returns": ["book"], "file": "/home/li/book/pages.py", "line": 39, "plugin": true, "short_name": "bind"}','ec9caa51780c3673');
INSERT INTO "service" VALUES('pages.write_page','{"positional": ["number", "paper"], "keyword_only": [], "positional_only": [], "var_positional": null, "var_keyword": null, "defaults": {}, "returns": ["page"], "file": "/home/li/book/pages.py", "line": 30, "plugin": true, "short_name": "write_page"}','ec9caa51780c3673');
CREATE TABLE "task" ("id" INTEGER NOT NULL PRIMARY KEY, "parent" INTEGER, "parent_retry" INTEGER NOT NULL, "chain" INTEGER NOT NULL, "last" INTEGER NOT NULL, "depth" INTEGER NOT NULL, "service" TEXT NOT NULL, "arguments" TEXT NOT NULL, "digest" TEXT, "worker_deaths" INTEGER NOT NULL, "on_interrupt" TEXT NOT NULL DEFAULT 'retry', "state" TEXT NOT NULL, "move" TEXT, "moved" REAL NOT NULL, "attempt" INTEGER NOT NULL, "retry" INTEGER NOT NULL, "deaths" INTEGER NOT NULL, "epoch" INTEGER, "worker" INTEGER, "wakeable" INTEGER NOT NULL, "held" INTEGER NOT NULL, "relaxed" INTEGER NOT NULL, "stopped" TEXT, "unsure" INTEGER NOT NULL DEFAULT 0, "redoes" INTEGER, "aside" INTEGER NOT NULL, "result" TEXT, "changes" TEXT);
INSERT INTO "task" VALUES(1,NULL,0,1,3,0,'pages.prepare','{"argv":["firexlite","submit","--plugins","pages.py","--chain","prepare,write,bind","--sheets","12000","--workers","2"],"chain":"prepare,write,bind","json_file":null,"plugins":"pages.py","submission_dir":"/home/li/book","submitter":"li","sync":true,"uid":"FireX-li-261126-172728-61538","sheets":"12000"}','08c33fd316defbbc1e80e643d75d031f',3,'retry','succeeded','succeed',1.79571404882370305061e+09,1,0,0,1,0,0,0,0,NULL,0,NULL,0,'blob:890ad509db6db4fcb89940fe061d6cc567e91bed60995e44457e0c5d1ea92bc6','{}');
INSERT INTO "task" VALUES(2,NULL,0,1,3,0,'pages.write','{}',NULL,3,'retry','blocked','block',1.79571404883643746374e+09,1,0,0,1,0,0,0,0,NULL,0,NULL,0,NULL,NULL);
INSERT INTO "task" VALUES(3,NULL,0,1,3,0,'pages.bind','{}',NULL,3,'retry','waiting',NULL,1.79571404866781783107e+09,0,0,0,NULL,NULL,0,0,0,NULL,0,NULL,0,NULL,NULL);
INSERT INTO "task" VALUES(4,2,0,4,4,1,'pages.write_page','{"number":0,"paper":"white"}','16b3640d20a5c1ab2a95667380d3d315',3,'retry','succeeded','succeed',1795714048.86951,1,0,0,1,1,0,0,0,NULL,0,NULL,0,'{"page":"page 0 on white"}','{}');
INSERT INTO "task" VALUES(5,2,0,5,5,1,'pages.write_page','{"number":1,"paper":"white"}','df971716413d6a3921150e8cfd4f6668',3,'retry','succeeded','succeed',1795714048.87781,1,0,0,1,1,0,0,0,NULL,0,NULL,0,'{"page":"page 1 on white"}','{}');
INSERT INTO "task" VALUES(6,2,0,6,6,1,'pages.write_page','{"number":2,"paper":"white"}','c7ab4c1087d55a6d50cb3cd0cc194221',3,'retry','running','claim',1795714048.87781,1,0,0,1,1,0,0,0,NULL,0,NULL,0,NULL,NULL);
INSERT INTO "task" VALUES(7,2,0,7,7,1,'pages.write_page','{"number":3,"paper":"white"}','54bf40fe83e83a2853c9b90a2adc24b9',3,'retry','running','claim',1.79571404888810324672e+09,1,0,0,1,2,0,0,0,NULL,0,NULL,0,NULL,NULL);
INSERT INTO "task" VALUES(8,2,0,8,8,1,'pages.write_page','{"number":4,"paper":"white"}','c184730aa45e6af0449564d42dee86b9',3,'retry','ready','release',1.79571404883620691301e+09,0,0,0,NULL,NULL,0,0,0,NULL,0,NULL,0,NULL,NULL);
CREATE INDEX task_ready ON task (depth DESC, id) WHERE state = 'ready' AND stopped IS NULL;
CREATE INDEX task_running ON task (worker) WHERE state = 'running';
CREATE INDEX task_wakeable ON task (depth DESC, id) WHERE state = 'blocked' AND wakeable;
CREATE INDEX task_blocked ON task (worker) WHERE state = 'blocked';
CREATE INDEX task_open_child ON task (parent) WHERE state IN ('blocked', 'ready', 'running', 'waiting');
CREATE INDEX task_call ON task (parent, parent_retry) WHERE digest IS NOT NULL;
CREATE INDEX awaited_by ON awaited (waiter, wait);
CREATE INDEX attempt_under_way ON attempt (worker) WHERE ended IS NULL;
CREATE INDEX task_redo ON task (redoes) WHERE redoes IS NOT NULL;
CREATE TRIGGER only_legal_moves BEFORE UPDATE OF state ON task
       WHEN NOT EXISTS (SELECT 1 FROM legal WHERE move = NEW.move AND source = OLD.state AND target = NEW.state)
       BEGIN SELECT RAISE(ABORT, 'no such move'); END;
CREATE TRIGGER a_move_is_an_event AFTER UPDATE OF state ON task
       BEGIN INSERT INTO event (at, task, attempt, move, state)
       VALUES (NEW.moved, NEW.id, NEW.attempt, NEW.move, NEW.state); END;
CREATE TRIGGER the_first_is_released AFTER INSERT ON task WHEN NEW.state = 'ready'
       BEGIN INSERT INTO event (at, task, attempt, move, state) VALUES (NEW.moved, NEW.id, 0, 'release', 'ready'); END;
CREATE TRIGGER success_is_for_ever BEFORE UPDATE OF id, parent, parent_retry, chain, last, depth, service, arguments, digest, worker_deaths, on_interrupt, state, move, moved, attempt, retry, deaths, epoch, worker, wakeable, held, relaxed, stopped, unsure, redoes, result, changes ON task WHEN OLD.state = 'succeeded'
       BEGIN SELECT RAISE(ABORT, 'a succeeded task never changes'); END;
CREATE TRIGGER tasks_stay BEFORE DELETE ON task
       BEGIN SELECT RAISE(ABORT, 'no task is ever deleted'); END;
CREATE TRIGGER attempts_stay BEFORE DELETE ON attempt
       BEGIN SELECT RAISE(ABORT, 'no attempt is ever deleted'); END;
CREATE TRIGGER events_stay BEFORE DELETE ON event
       BEGIN SELECT RAISE(ABORT, 'no event is ever deleted'); END;
CREATE TRIGGER an_ended_attempt_stays BEFORE UPDATE ON attempt WHEN OLD.ended IS NOT NULL
       BEGIN SELECT RAISE(ABORT, 'an ended attempt never changes'); END;
COMMIT;
