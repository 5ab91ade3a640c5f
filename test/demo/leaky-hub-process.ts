// A hub that leaves its Postgres behind; the file's name tells it so.
import './mini-hub-process.js'
