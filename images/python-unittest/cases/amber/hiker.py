def answer():
    return 6 * sevn
