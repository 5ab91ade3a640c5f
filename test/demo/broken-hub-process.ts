// A hub that ends at its start with one line; the file's name tells it so.
import './mini-hub-process.js'
