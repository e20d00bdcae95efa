"""A small, strict, independent implementation of SCF, written from the text: it judges what others read and write."""
