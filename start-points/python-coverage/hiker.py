def answer(asked=True):
    if asked:
        return 6 * 9
    return 0
