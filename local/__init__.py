"""The embedded stack: real PostgreSQL and Redis without Docker or root, and the platform on top of them.

Wheels carry the servers' programs, so one `pip install` is all a machine needs, and tests and `make run` use
what production uses.

From the bottom up:

- `account`, `lock`, `ports`, `child`: a process that belongs to us, and cannot be left behind.
- `server`, `postgres`, `redis`, `roles`: the two servers and the two database roles. The tests use these.
- `stack`, `backup`, `restore`: `make backup` and `make restore`, on the embedded stack or the containers;
  standard library only.
- `environment`, `external`, `services`, `signals`, `steps`, `run`: what `make run` adds.
- `apart`, `stage`, `tour`, `demo`: what `make demo` adds: a platform of its own, and what is shown of it.

What happens when

- a child dies: everything else is stopped, the end of its log is shown, the exit code is 1;
- we are asked to stop (Ctrl-C, SIGTERM): the services get 6 s, then the servers 3 s, then SIGKILL;
- we are killed: the kernel (Linux) tells the children to end, and the next start waits until they have;
- a second run wants the same state folder: it is told the process id of the first one, and ends.

A secret never stands on a command line or in a log: Redis's password is in its configuration file (mode
0600), PostgreSQL gets only SCRAM verifiers, and the services find theirs in their environment.

Concurrency: everything happens in the main thread. A child lives as long as the thread that started it.
"""
