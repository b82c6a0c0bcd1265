import org.codehaus.groovy.ast.ASTNode
import org.codehaus.groovy.ast.CodeVisitorSupport
import org.codehaus.groovy.ast.expr.ArgumentListExpression
import org.codehaus.groovy.ast.expr.BinaryExpression
import org.codehaus.groovy.ast.expr.ClosureExpression
import org.codehaus.groovy.ast.expr.ConstantExpression
import org.codehaus.groovy.ast.expr.GStringExpression
import org.codehaus.groovy.ast.expr.MethodCallExpression
import org.codehaus.groovy.ast.stmt.BlockStatement
import org.codehaus.groovy.ast.stmt.ExpressionStatement
import org.codehaus.groovy.control.CompilationUnit
import org.codehaus.groovy.control.Phases

/** What Jenkins' own parser of declarative pipelines refuses and a run does not show: Groovy that is no step, outside `script`. */
class Grammar extends CodeVisitorSupport {
    static final HOLD_STEPS = ['steps'] + Declarative.POST

    static void check(File file) {
        def unit = new CompilationUnit()
        unit.addSource(file)
        unit.compile(Phases.CONVERSION)
        unit.AST.modules.each { it.statementBlock.visit(new Grammar()) }
    }

    @Override void visitMethodCallExpression(MethodCallExpression call) {
        def block = blockOf(call)
        if (call.methodAsString == 'script') return
        if (call.methodAsString == 'environment' && block) block.statements.each { assigned(it) }
        if (call.methodAsString in HOLD_STEPS && block) steps(block)
        if (call.methodAsString == 'sh') shell(call)
        super.visitMethodCallExpression(call)
    }

    static BlockStatement blockOf(MethodCallExpression call) {
        def given = call.arguments instanceof ArgumentListExpression ? call.arguments.expressions : []
        def last = given ? given.last() : null
        last instanceof ClosureExpression ? last.code : null
    }
    static void steps(BlockStatement block) {
        block.statements.each {
            def call = it instanceof ExpressionStatement ? it.expression : null
            if (!(call instanceof MethodCallExpression && call.implicitThis)) refuse('no step', it)
            def inner = blockOf(call)
            if (inner && call.methodAsString != 'script') steps(inner)
        }
    }
    static void assigned(ASTNode it) {
        def expression = it instanceof ExpressionStatement ? it.expression : null
        def right = expression instanceof BinaryExpression ? expression.rightExpression : null
        def allowed = [ConstantExpression, GStringExpression, MethodCallExpression]
        if (!allowed.any { it.isInstance(right) }) refuse('no environment', it)
    }
    /** A rule of ours: a command is text as it stands, so that no input and no secret becomes a part of it. */
    static void shell(MethodCallExpression call) {
        def given = call.arguments.expressions
        if (!(given.size() == 1 && given[0] instanceof ConstantExpression)) refuse('no command as it stands', call)
    }
    static void refuse(String what, ASTNode node) { throw new NotDeclarative("line ${node.lineNumber}: $what") }
}
