import Glibc

func errnoText(_ code: Int32) -> String { String(cString: strerror(code)) }
