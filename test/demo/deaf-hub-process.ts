// A hub that accepts SETs and sends none on; the file's name tells it so.
import './mini-hub-process.js'
