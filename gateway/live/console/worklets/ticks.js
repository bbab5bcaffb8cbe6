// A clock of its own thread: a page in the background has its timers slowed down, a worker has not.

setInterval(() => postMessage(null), 20);
